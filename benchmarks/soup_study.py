"""Whether averaged weights of several trainings help on sources that nobody has learned from.

Run: python -m benchmarks.soup_study [--worlds 12] [--kinds …] [--out FILE]
Own: python -m benchmarks.soup_study --project [--worlds 3], where a params.yaml is, after prepare
Tell: python -m benchmarks.soup_study --table --out FILE

The worlds are those of `heads_study`. All trainings of a world begin at one network that was
trained in another world of that kind, on fakes that have stripes in place of a checkerboard. Told
is the AUC on the sources that nobody has learned from, of

one          the averaged weights (EMA) of each training: the mean of their AUCs
long         those of one training that is as long as all of them
scores       the mean of their log-odds, which costs all the networks at scoring
soup         the average of their averaged weights: `schedule.soup`
unrenewed    the same with the mean of their statistics of batch norm

and the difference to `one`, paired by world, with Student's 95 % intervals, by the code of
`compare`. With `--project` a world is a seed, on the backbone, rows and hold-out of the section
`compare`.
"""

import argparse
import csv
import logging
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.heads_study import FIELDS, GROUPS, KINDS, SETTINGS, make_world, tell
from features.core.auc import Floats
from features.core.manifest import Ids, Manifest, read_manifest
from features.crops.crop_store import open_member_store
from features.runtime.interruption import Interruption
from features.settings.compare import CompareParams
from features.settings.sections import load_params
from stage1_cnn.compare.judged_rows import choose_judged
from stage1_cnn.compare.statistics import MEASURES
from stage1_cnn.networks.network import build_network, settle_network
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import score_rows
from stage1_cnn.train.fold_metrics import Figures, measure_figures
from stage1_cnn.train.loop import train_network
from stage1_cnn.train.soup import Soup, State, derive_soup_seed, renew_statistics

TRAININGS, EPOCHS = 3, 8
"""Of a soup, and of each of its trainings."""
START_WORLDS = 1000
"""From here on they are those that starts are trained in."""
VARIANTS = ("one", "long", "scores", "soup", "unrenewed")
ALONE = Processes(torch.device("cpu"))


def judge_soup(task: TrainingTask, unseen: Ids) -> dict[str, Figures]:
    """Figures of all `VARIANTS` on the rows `unseen`."""
    sessions = Sessions(ALONE, Interruption())
    soup, aucs, scores = Soup(), list[Figures](), list[Floats]()
    for number in range(TRAININGS):
        own = replace(task, seed=derive_soup_seed(task.seed, number))
        trained = train_network(own, ALONE, start=task.seed)
        soup.add(trained)
        scores.append(_score(task, unseen, trained.state))
        aucs.append(_judge(task.train, unseen, scores[-1]))
    renewed = renew_statistics(soup.ema, task, sessions)
    epochs = (task.settings.schedule.epochs or 1) * TRAININGS
    schedule = task.settings.schedule.model_copy(update={"epochs": epochs})
    longer = task.settings.model_copy(update={"schedule": schedule})
    long = train_network(replace(task, settings=longer), ALONE)
    return {
        "one": {name: float(np.mean([found[name] for found in aucs])) for name in MEASURES},
        "long": _judge(task.train, unseen, _score(task, unseen, long.state)),
        "scores": _judge(task.train, unseen, np.mean(scores, axis=0)),
        "soup": _judge(task.train, unseen, _score(task, unseen, renewed)),
        "unrenewed": _judge(task.train, unseen, _score(task, unseen, soup.ema)),
    }


def _score(task: TrainingTask, rows: Ids, state: State) -> Floats:
    network = build_network(task.settings, load=False)
    engine = build_torch_engine(network, task.settings, ALONE.device)
    engine.network.load_state_dict(state)
    return score_rows(engine, task.store, rows, ALONE).logits.astype(np.float64)


def _judge(train: Manifest, rows: Ids, log_odds: Floats) -> Figures:
    return measure_figures(train.labels[rows], log_odds, train.groups[rows])


def write_start(kind: str, world: int, groups: int, folder: Path) -> None:
    """Weights of a network that has learned to tell stripes in a world of this kind."""
    train, store = make_world(kind, START_WORLDS + world, groups, folder, "stripes")
    settings = CompareParams.model_validate(SETTINGS).resolve_variant("linear")
    task = TrainingTask(settings, store, train, train.rows_to_learn(0), 0)
    trained = train_network(task, ALONE)
    state = {name: value.contiguous() for name, value in trained.state.items()}
    save_file(state, folder / "start.safetensors")


def open_world(kind: str, world: int, groups: int, folder: Path) -> tuple[TrainingTask, Ids]:
    """Trainings in one made-up world of the network that was trained in another one, and the rows
    that they are judged on."""
    start = folder / "start"
    start.mkdir()
    write_start(kind, world, groups, start)
    backbone = {"model": "test_resnet", "pretrained": "start.safetensors"}
    changed: dict[str, Any] = {"weights": {"root": str(start)}, "backbones": {"resnet": backbone}}
    changed["schedule"] = SETTINGS["schedule"] | {"epochs": EPOCHS}
    settings = CompareParams.model_validate(SETTINGS | changed).resolve_variant("linear")
    train, store = make_world(kind, world, groups, folder)
    task = TrainingTask(settings, store, train, train.rows_to_learn(0), world)
    return task, train.fold_rows(0)


def open_project(seed: int) -> tuple[TrainingTask, Ids]:
    """What `compare` would train in this folder, under its first variant, and judge."""
    params = load_params(CompareParams)
    train = read_manifest(Path("artifacts/manifest"), "train")
    judged = choose_judged(params.compare, train)
    rows = judged.leave_out(train.rows_to_learn(params.compare.fold))
    settings = settle_network(params.resolve_variant(next(iter(params.compare.variants))))
    shown = (settings.images.mode, settings.image_size)
    store = open_member_store(train, Path(params.data.root), params.images, *shown)
    return TrainingTask(settings, store, train, rows, seed), judged.row_ids


def run_world(kind: str, world: int, groups: int = GROUPS) -> Iterator[dict[str, Any]]:
    """A line of results for each variant; `kind` may be `project`."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "project":
            task, unseen = open_project(world)
        else:
            task, unseen = open_world(kind, world, groups, Path(folder))
        for variant, figures in judge_soup(task, unseen).items():
            facts = (kind, variant, world, len(task.rows.row_ids), "raw")
            measured = (figures[measure] for measure in MEASURES)
            yield dict(zip(FIELDS, (*facts, *measured), strict=True))


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=12, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--project", action="store_true", help="the project in this folder")
    parser.add_argument("--out", type=Path, default=Path("soup_study.csv"))
    parser.add_argument("--table", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--quick", action="store_true", help="a small world, no file")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    if given.quick:
        tell(list(run_world("cue", 0, groups=6)))
        return
    if not given.table:
        kinds = ["project"] if given.project else given.kinds.split(",")
        run(kinds, given.worlds, given.out)
    with given.out.open(newline="", encoding="utf-8") as file:
        tell(list(csv.DictReader(file)))


def run(kinds: list[str], worlds: int, out: Path) -> None:
    """Runs what the file of results lacks."""
    done: set[tuple[str, str]] = set()
    if out.exists():
        with out.open(newline="", encoding="utf-8") as file:
            done = {(row["kind"], row["world"]) for row in csv.DictReader(file)}
    with out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not done:
            writer.writeheader()
        for world in range(worlds):
            for kind in kinds:
                if (kind, str(world)) not in done:
                    writer.writerows(list(run_world(kind, world)))
                    file.flush()
            print(f"\r{world + 1} of {worlds} worlds", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
