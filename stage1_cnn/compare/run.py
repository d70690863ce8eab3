"""What `python -m stage1_cnn.compare` does."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from features.core.files import derive_seed, write_text
from features.core.manifest import Ids, Manifest, count_classes, read_manifest
from features.crops.crop_store import MemberStores
from features.errors import NotFiniteError, Stopped, TrainingError
from features.runtime.interruption import Interruption
from features.runtime.terminal import build_console
from features.settings.compare import CompareParams
from stage1_cnn.compare.figure import write_figure
from stage1_cnn.compare.judged_rows import JudgedRows, choose_judged
from stage1_cnn.compare.runs import (
    Clock,
    Run,
    Scores,
    make_runs,
    plan_runs,
    read_diverged,
    read_finished,
)
from stage1_cnn.compare.statistics import (
    RowFacts,
    RunScores,
    measure_own_limit,
    summarise_runs,
)
from stage1_cnn.compare.table import (
    Judges,
    build_csv,
    build_grids,
    format_markdown,
    list_notes,
    list_verdicts,
    print_report,
)
from stage1_cnn.networks.devices import pick_device, prepare_device
from stage1_cnn.networks.network import settle_network
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.frozen_member import fit_member
from stage1_cnn.train.soup import train_member

MANIFEST = Path("artifacts/manifest")
_log = logging.getLogger("forgerystack")


def build_executor(
    params: CompareParams, train: Manifest, judged: JudgedRows, interruption: Interruption
) -> Callable[[Run], Scores]:
    """What trains one run and judges it; images are opened at the first one."""
    processes = Processes(pick_device())
    prepare_device(processes.device)
    sessions = Sessions(processes, interruption)
    stores = MemberStores(train, Path(params.data.root), params.images)
    variants = [params.resolve_variant(name) for name in params.compare.variants]

    def execute(run: Run) -> Scores:
        judged.check_unknown_to(run.rows, train)
        interruption.stop_at_once()
        settings = settle_network(run.settings)
        store = stores.open(settings.images.mode, settings.image_size)
        # The same for all variants: they start from the same weights.
        seed = derive_seed(params.seed, "compare", run.seed)
        task = TrainingTask(settings, store, train, run.rows, seed)
        if settings.kind == "frozen":
            scores = fit_member(task, judged.row_ids, params.images, sessions, variants)[1]
        else:
            trained = train_member(task, sessions)
            scores = judge_unseen(trained, task, judged.row_ids, processes)
        _check_numbers(scores, judged.row_ids)
        return scores

    return execute


def _check_numbers(scores: Scores, row_ids: Ids) -> None:
    """Raises `NotFiniteError`: what has no figure can be compared with nothing."""
    for name, own in scores.items():
        if not own.finite.all():
            raise NotFiniteError(f"log-odds by the {name} weights", row_ids[~own.finite])


def report_runs(
    params: CompareParams,
    judged: JudgedRows,
    train: Manifest,
    runs: list[RunScores],
    diverged: Sequence[Run],
    out: Path,
    console: Console,
) -> None:
    """Prints the tables of `runs` and writes them, with the figure, into `out`."""
    variants = list(params.compare.variants)
    rows = RowFacts(train.labels[judged.row_ids], train.groups[judged.row_ids])
    judges = Judges(judged.name, *count_classes(rows.labels), measure_own_limit(runs))
    lost = [(len(run.rows.row_ids), run.variant) for run in diverged]
    entries = summarise_runs(runs, variants, rows, lost)
    parts = (
        build_grids(entries, variants[0]),
        list_verdicts(entries, variants[0]),
        list_notes(entries, judges, {params.resolve_variant(name).kind for name in variants}),
    )
    print_report(*parts, console)
    title = f"{params.compared_backbone} on {judges.name}: mean ± 95 % over seeds (dots)"
    write_text(out / "compare.csv", build_csv(entries).to_csv(index=False))
    write_text(out / "compare.md", format_markdown(*parts))
    write_figure([entry for entry in entries if entry.seeds], title, out / "compare.png")
    console.print(f"Tables and figure: {out}", highlight=False)


def run(params: CompareParams, out: Path, max_minutes: float | None = None) -> list[Run]:
    """Makes the runs that are missing and reports all that are finished; returns what is left.

    Raises `TrainingError` where nothing is left but what diverged.
    """
    clock = Clock(max_minutes)
    train = read_manifest(MANIFEST, "train")
    judged = choose_judged(params.compare, train)
    plan = plan_runs(params, train, judged)
    try:
        with Interruption() as interruption:
            left = make_runs(plan, out, build_executor(params, train, judged, interruption), clock)
    except Stopped:
        finished = read_finished(plan, out)
        left = [run for run in plan if run.name not in finished]
    finished = read_finished(plan, out)
    reasons = read_diverged(plan, out, finished)
    runs = [own.scores for own in finished.values()]
    if runs:
        diverged = [run for run in plan if run.name in reasons]
        report_runs(params, judged, train, runs, diverged, out, build_console())
    if reasons and not left:
        failures = [f"{name}: {reason}" for name, reason in reasons.items()]
        raise TrainingError(failures, len(plan), "runs")
    return left
