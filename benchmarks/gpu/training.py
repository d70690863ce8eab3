"""A training: the losses of a CPU, and what it does about the unforeseen.

Resuming, averages, float16 and its scaler, states of another precision, steps that are left out,
batches in parts, figures that stay the same, memory that grows, and what makes the host wait.
"""

import copy
import gc
import statistics
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.report import CPU, Report
from benchmarks.gpu.tasks import Task, advance, find_largest
from features.settings.learning import Augment, Ema, Network, Schedule
from stage1_cnn.losses.cross_entropy import CrossEntropy
from stage1_cnn.networks.devices import prepare_device
from stage1_cnn.runtime.checkpoints import Checkpoints
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.fold_metrics import Figures, judge_unseen
from stage1_cnn.train.loop import Trained
from stage1_cnn.train.trainer import Trainer

EVERYTHING = {
    "hflip": 0.5, "vflip": 0.5, "rotate90": 0.3, "crop_min_area": 0.5, "colour": 0.3,
    "rescale": 0.3, "blur": 0.3, "noise": 0.3, "jpeg": 0.3, "cutout": 0.3, "mixup": 0.3,
    "cutmix": 0.3, "self_blend": 0.3,
}  # fmt: skip
FLIPS = {"hflip": 0.5, "vflip": 0.5}
UNTIMED, COUNTED = 8, 8
"""Steps in which every operation has been met once, and those whose waiting calls count."""


def check(report: Report) -> None:
    """All of it, on one small task."""
    parts: dict[str, Callable[[Report, Task, Processes], None]] = {
        "loss": compare_losses,
        "ema": compare_averages,
        "resume": check_resuming,
        "repeat": check_repeating,
        "float16": check_scaler,
        "float16.other_state": check_foreign_state,
        "bad_step": check_bad_step,
        "accumulate": compare_parts,
        "memory_grows": check_growth,
        "waits": count_waits,
    }
    with tempfile.TemporaryDirectory() as folder:
        task, here = Task(Path(folder)), Processes(report.device)
        for name, run in parts.items():
            with report.part(name):
                run(report, task, here)


def compare_losses(report: Report, task: Task, here: Processes) -> None:
    """The same weights and batches: the first losses of a CPU."""
    for model in ("test_resnet", "test_convnext", "test_vit"):
        found = advance(*task.start(here, model=model), 0, 6)
        wanted = advance(*task.start(Processes(CPU), model=model), 0, 6)
        error = measure_difference(found, wanted)
        report.check(f"loss.{model}", error < 2e-2, f"{error:.1e}")


def measure_difference(found: Iterable[float], wanted: Iterable[float]) -> float:
    """Of losses, relative to those that are wanted; the largest."""
    return max(abs(a / b - 1) for a, b in zip(found, wanted, strict=True))


def compare_averages(report: Report, task: Task, here: Processes) -> None:
    """timm's average, against one made by hand in float64."""
    trainer, loader = task.start(here, ema=Ema(decay=0.9))
    assert trainer.ema is not None
    own = {k: v.double() for k, v in trainer.ema.module.state_dict().items()}
    for step, batch in enumerate(loader.iterate(0, 8), 1):
        trainer.advance(batch)
        decay = trainer.ema.get_decay(step)
        for name, value in trainer.network.state_dict().items():
            mixed = decay * own[name] + (1 - decay) * value
            own[name] = mixed if value.is_floating_point() else value.double()
    error = find_largest(trainer.ema.module.state_dict(), own)
    report.check("ema", error < 1e-5, f"{error:.1e}")


@contextmanager
def deterministic() -> Iterator[None]:
    """Kernels that give the same bits again, as far as there are such."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning for each kernel that has no such variant
        cudnn.benchmark, cudnn.deterministic = False, True
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)
            cudnn.benchmark, cudnn.deterministic = before


def check_resuming(report: Report, task: Task, here: Processes) -> None:
    """Through, and in two lives by a file, with dropout and half precision: the same bits.

    Where a device does not give the same bits twice, no further off than twice that.
    """
    # `auto` is half precision on a card, and not on a CPU.
    precision = "bfloat16" if report.small else "auto"
    changes = {
        "network": Network(dropout=0.2, drop_path=0.1, precision=precision),
        "augment": Augment(hflip=0.5, mixup=0.3, jpeg=0.3),
    }
    with deterministic(), tempfile.TemporaryDirectory() as folder:
        through, again = (run_through(task, here, changes) for _ in range(2))
        first, loader = task.start(here, **changes)
        advance(first, loader, 0, 4)
        states = Checkpoints(Path(folder))
        states.save(4, first.state_dict())
        second, loader = task.start(here, seed=7, **changes)
        state = states.load()
        assert state is not None
        second.load_state_dict(state)
        advance(second, loader, 4, 9)
    for name in ("network", "ema"):
        wanted = through.state_dict()[name]
        noise, off = (find_largest(t.state_dict()[name], wanted) for t in (again, second))
        report.check(f"resume.{name}", off <= 2 * noise, f"{off:.1e}, twice the same {noise:.1e}")


def run_through(task: Task, here: Processes, changes: dict[str, Any]) -> Trainer:
    """Alone with the random numbers, which trainers of one process share."""
    trainer, loader = task.start(here, **changes)
    advance(trainer, loader, 0, 9)
    return trainer


def check_repeating(report: Report, task: Task, here: Processes) -> None:
    """The same weights are judged alike in two processes, each of which chooses its algorithms."""
    trainer, _ = task.start(here, model="resnet18")
    state = {k: v.cpu() for k, v in trainer.network.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        torch.save(state, path)
        given = [path] * 2, [str(here.device)] * 2
        if report.small and report.quick:  # processes take half a minute to start
            found = list(map(judge_again, *given))
        else:
            with ProcessPoolExecutor(2, get_context("spawn"), max_tasks_per_child=1) as beside:
                found = list(beside.map(judge_again, *given))
    same = found[0] == found[1]
    report.check("repeat", same, f"log loss {found[0]['log_loss']}, again {found[1]['log_loss']}")


def judge_again(path: Path, name: str) -> Figures:
    """Figures of the weights at `path` on fold 0, with the device as a training leaves it."""
    device = torch.device(name)
    prepare_device(device)
    with tempfile.TemporaryDirectory() as folder:
        task = Task(Path(folder))
        here = Processes(device)
        _, loader = task.start(here, model="resnet18")
        trained = Trained(torch.load(path), None, 0)
        judged = judge_unseen(trained, loader.task, task.train.fold_rows(0), here)
    return judged["raw"].figures


def check_scaler(report: Report, task: Task, here: Processes) -> None:
    """float16 learns; gradients that overflow leave the weights alone and halve the factor."""
    trainer, loader = task.start(here, network=Network(precision="float16"))
    losses = advance(trainer, loader, 0, 24)
    falls = statistics.mean(losses[-6:]) < statistics.mean(losses[:6])
    report.check("float16", falls, f"loss {losses[0]:.3f} to {losses[-1]:.3f}")
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**60})
    before = {k: v.clone() for k, v in trainer.network.named_parameters()}
    advance(trainer, loader, 24, 25)
    same = all(torch.equal(v, before[k]) for k, v in trainer.network.named_parameters())
    scale = trainer.scaler.get_scale()
    told = f"weights kept {same}, factor 2^60 to 2^{np.log2(scale):.0f}"
    report.check("float16.overflow", same and scale == 2.0**59, told)


def check_foreign_state(report: Report, task: Task, here: Processes) -> None:
    """A training of a card with bfloat16, or of a CPU, goes on on one that has float16 alone."""
    first, loader = task.start(here)
    advance(first, loader, 0, 2)
    second, loader = task.start(here, network=Network(precision="float16"))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    loss = advance(second, loader, 2, 4)[-1]
    report.check("float16.other_state", np.isfinite(loss), f"loss {loss:.3f}")


def check_bad_step(report: Report, task: Task, here: Processes) -> None:
    """A row whose loss is no number: nothing changes, batch norm neither, and it is named."""
    trainer, loader = task.start(here, model="test_resnet")
    advance(trainer, loader, 0, 3)
    before = copy.deepcopy(trainer.network.state_dict())
    (batch,) = loader.iterate(3, 4)
    with spoilt_row(5):
        skipped = trainer.advance(batch) is None
    same = find_largest(trainer.network.state_dict(), before) == 0
    named = trainer.bad_rows.tolist() == [batch.row_ids[5]]
    told = f"skipped {skipped}, weights kept {same}, row named {named}"
    report.check("bad_step", skipped and same and named, told)


@contextmanager
def spoilt_row(place: int) -> Iterator[None]:
    """That row of each batch has a loss that is no number."""
    measure = CrossEntropy.measure

    def spoil(self: CrossEntropy, logits: Tensor, targets: Tensor) -> Tensor:
        losses = measure(self, logits, targets)
        row = torch.arange(len(losses), device=losses.device) == place
        return losses + torch.where(row, torch.nan, 0.0)

    CrossEntropy.measure = spoil  # type: ignore[method-assign]
    try:
        yield
    finally:
        CrossEntropy.measure = measure  # type: ignore[method-assign]


def compare_parts(report: Report, task: Task, here: Processes) -> None:
    """A batch in three parts is the same step (layer norm: parts do not see each other)."""
    losses = []
    for count in (1, 3):
        schedule = Schedule(epochs=8, warmup_epochs=0.5, batch_size=16, accumulate=count)
        losses.append(advance(*task.start(here, model="test_convnext", schedule=schedule), 0, 6))
    error = measure_difference(losses[1], losses[0])
    report.check("accumulate", error < 1e-3, f"{error:.1e}")


def check_growth(report: Report, task: Task, here: Processes) -> None:
    """Row counts of augmentation change from step to step: the memory held must not follow."""
    if report.small:
        report.skip("memory_grows", "needs CUDA")
        return
    gc.collect()
    torch.cuda.empty_cache()  # what others have left would be used first
    trainer, loader = task.start(here, augment=Augment(**EVERYTHING))
    advance(trainer, loader, 0, 30)
    before = torch.cuda.memory_reserved(here.device)
    advance(trainer, loader, 30, 90)
    grown = torch.cuda.memory_reserved(here.device) / before
    report.check("memory_grows", grown < 1.1, f"{grown:.2f} times")


def count_waits(report: Report, task: Task, here: Processes) -> None:
    """Calls within a step that wait for all that the device has to do.

    The loss is read by an event, which is no such call; all else should be none.
    """
    if report.small:
        report.skip("waits", "needs CUDA")
        return
    with counted_waits() as places:
        torch.ones((), device=here.device).item()
    report.check("waits.seen", places.total() > 0, f"{places.total()} for the one that is made")
    for name, chances in {"plain": FLIPS, "all": EVERYTHING}.items():
        trainer, loader = task.start(here, augment=Augment(**chances))
        batches = list(loader.iterate(0, UNTIMED + COUNTED))
        for batch in batches[:UNTIMED]:
            trainer.advance(batch)
        with counted_waits() as places:
            for batch in batches[UNTIMED:]:
                trainer.advance(batch)
        each = places.total() / COUNTED
        where = ", ".join(f"{place} x {n}" for place, n in places.most_common(4))
        report.check(f"waits.{name}", each == 0, f"{each:g} a step {where}")


@contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """How often each line of code waits within it, by `file:line`; filled in at its end."""
    places: Counter[str] = Counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waits = [w for w in said if "called a synchronizing" in str(w.message)]
    places.update(f"{Path(w.filename).name}:{w.lineno}" for w in waits)
