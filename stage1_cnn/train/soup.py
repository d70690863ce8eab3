"""What a member is made of: one training, or several from one start, their weights averaged.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time" (ICML 2022).

trained = train_member(task, sessions, curve)
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from features.core.files import derive_seed
from stage1_cnn.networks.devices import tell_memory
from stage1_cnn.networks.network import Classifier
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.train.loop import MeasureCurve, Row, Trained, train_network
from stage1_cnn.train.trainer import Trainer
from stage1_cnn.tuning.learned import LEARNS_STATISTICS, ParameterCount

STATISTICS_IMAGES = 20_000
"""Of one epoch's draws, so many at most say what the statistics of batch norm are."""
ADVICE = "Free it of other work, or set schedule.batch_size lower"
State = dict[str, Tensor]
_log = logging.getLogger("forgerystack")


@dataclass
class Soup:
    """The average of the trainings that are done."""

    trainings: int = 0
    last: State = field(default_factory=dict)
    ema: State = field(default_factory=dict)
    """Empty where there is none."""
    parameters: tuple[int, int] = (0, 0)
    """As of `ParameterCount`."""
    history: list[Row] = field(default_factory=list)
    total: int = 0
    """Images that all of them learn from."""

    def add(self, trained: Trained) -> None:
        """Averages one more training in; its epochs follow on those before."""
        self.trainings += 1
        self.last = _average(self.last, trained.last_state, self.trainings)
        self.ema = _average(self.ema, trained.ema_state or {}, self.trainings)
        self.parameters = (trained.parameters.stored, trained.parameters.learned)
        before = len(self.history)
        for row in trained.history:
            self.history.append({"training": self.trainings, **row, "epoch": before + row["epoch"]})
        self.total += trained.total


def train_member(
    task: TrainingTask, sessions: Sessions, measure_curve: MeasureCurve | None = None
) -> Trained:
    """One training, or the average of the weights of `schedule.soup` of them.

    All begin at the weights that `task.seed` gives: those that were pretrained, and one draw of
    what is new, such as the head. The first is the training that there is without a soup. Goes on
    from what `sessions` have kept. Raises as `train_network`.
    """
    processes, count = sessions.processes, task.settings.schedule.soup
    if count == 1:
        return train_network(task, processes, sessions.open(), measure_curve)
    soup, kept = Soup(), sessions.open("soup")
    if state := kept.restore():
        soup = Soup(**state)
    seconds, images = 0.0, 0
    for number in range(soup.trainings, count):
        _log.info("training %d of %d, whose weights are averaged", number + 1, count)
        name = f"training-{number}"
        session = sessions.open(name, later=count - number - 1)
        own = replace(task, seed=derive_soup_seed(task.seed, number))
        trained = train_network(own, processes, session, measure_curve, start=task.seed)
        soup.add(trained)
        kept.save(soup.trainings, vars(soup))
        sessions.drop(name)
        seconds, images = seconds + trained.seconds, images + trained.images
    return Trained(
        last_state=renew_statistics(soup.last, task, sessions),
        ema_state=renew_statistics(soup.ema, task, sessions) if soup.ema else None,
        parameters=ParameterCount(*soup.parameters),
        history=soup.history,
        seconds=seconds,
        images=images,
        total=soup.total,
    )


def derive_soup_seed(seed: int, number: int) -> int:
    """Seed of the draws and changes of pictures of a soup's training; its first one has `seed`."""
    return derive_seed(seed, "soup", number) if number else seed


def renew_statistics(state: State, task: TrainingTask, sessions: Sessions) -> State:
    """`state`, its batch norm with the means and variances that the rows have under its weights.

    The average of several networks' statistics is that of none. They are measured on the first
    draws of the training `task`, changed as there, by torch's `update_bn`. Where batch norm keeps
    its statistics while it learns, nothing is done. Raises `Stopped`.
    """
    learns = task.settings.optimizer.tune in LEARNS_STATISTICS
    if not learns or not any(name.endswith("running_var") for name in state):
        return state
    torch.manual_seed(task.seed)
    loader = BatchLoader(task, sessions.processes)
    with tell_memory(sessions.processes.device, ADVICE):
        trainer = Trainer(loader)
        trainer.network.load_state_dict(state)
        shown = _show(trainer, loader, sessions)
        update_bn(shown, Classifier(trainer.network, trainer.precision), trainer.device)
    return {name: value.cpu() for name, value in trainer.network.state_dict().items()}


def _show(trainer: Trainer, loader: BatchLoader, sessions: Sessions) -> Iterator[Tensor]:
    """What a training is shown from its first step on."""
    steps = min(len(loader), -(-STATISTICS_IMAGES // loader.batch_size))
    for batch in loader.iterate(0, steps):
        yield trainer.prepare(batch)[0]
        trainer.step += 1
        sessions.check_time("while batch norm was measured anew")


def _average(mean: Mapping[str, Tensor], state: State, count: int) -> State:
    """The mean of `count` states, of which `state` is the last; of counters the last."""
    if not mean:
        return state
    return {
        name: torch.lerp(mean[name], value, 1 / count) if value.is_floating_point() else value
        for name, value in state.items()
    }
