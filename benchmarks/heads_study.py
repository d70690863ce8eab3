"""Which heads and batches help on sources that nobody has learned from, over made-up worlds.

Run: python -m benchmarks.heads_study [--worlds 12] [--kinds …] [--variants …] [--out FILE]
Tell: python -m benchmarks.heads_study --table --out FILE

A world holds ten sources; six are learned from, and the others are judged. Each picture has
contents of its own, far stronger than the artefact: a weak checkerboard that all fakes have. A fake
has the contents of the real that it was made of, and mostly there are two. The kinds differ by what
else tells fakes apart among the sources that are learned from:

contents     nothing
cue          the fakes of a source have a tint of its own, as strong as the contents
uneven       each source has a tint, in reals and fakes alike; half of the sources have one fake
             of each real, the others four

In each world every variant learns from the same rows, with the same seed. Told is the AUC on the
sources that nobody has learned from, and the difference to the first variant, paired by world, with
Student's 95 % intervals, by the code of `compare`.

Worlds that a file of `--out` holds are not run again.
"""

import argparse
import csv
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.gpu.tasks import import_from_tests
from features.core.manifest import Manifest, write_manifest
from features.pixels.store import RawStore
from features.runtime.terminal import build_console
from features.settings.compare import CompareParams
from stage1_cnn.compare.statistics import MEASURES, RunScores, summarise_runs
from stage1_cnn.compare.table import build_grids, list_verdicts, print_report
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.loop import train_network

KINDS = ("contents", "cue", "uneven")
Artefact = Literal["board", "stripes"]
"""What all fakes have: a checkerboard, or every second line brighter."""
SIDE, SOURCES, LEARNED, GROUPS = 32, 10, 6, 30
"""Pixels; sources, and those that are learned from; reals of each."""
ARTEFACT, CONTENTS, TINT, NOISE = 2.5, 40.0, 30.0, 6.0
"""Grey levels."""
GEND = {"alignment": 0.1, "uniformity": 0.5}
"""The weights of the paper."""
COSINE: dict[str, Any] = {"network": {"head": "cosine"}}
PAIRS: dict[str, Any] = {"sampling": {"pairs": True}}
VARIANTS: dict[str, dict[str, Any]] = {
    "linear": {"network": {"head": "linear"}},
    "cosine": COSINE,
    "sphere": {**COSINE, "loss": GEND},
    "pairs": PAIRS,
    "sphere-pairs": {**COSINE, **PAIRS, "loss": GEND},
}
SETTINGS: dict[str, Any] = {
    "seed": 0,
    "data": {"root": "."},
    "images": {"size": SIDE, "store": "none"},
    "weights": {},
    "sampling": {},
    "loss": {},
    "optimizer": {"lr": 3e-3},
    "schedule": {"epochs": 4, "warmup_epochs": 0.5, "batch_size": 32},
    "ema": {"half_life_epochs": 0.3},
    "augment": {"hflip": 0.5},
    "network": {},
    "backbones": {"resnet": {"model": "test_resnet"}},
    "compare": {"backbone": "resnet", "variants": VARIANTS},
}
FIELDS = ("kind", "variant", "world", "rows", "weights", *MEASURES)
"""Of a line of results."""


def make_world(
    kind: str, seed: int, groups: int, folder: Path, artefact: Artefact = "board"
) -> tuple[Manifest, RawStore]:
    """Rows and pictures of one world; fold 0 holds the sources that nobody learns from."""
    small = import_from_tests("small_task")
    rng = np.random.default_rng([KINDS.index(kind), seed])
    labels, sources, numbers, pixels = [], [], [], []
    places = np.indices((SIDE, SIDE))
    places = places.sum(0) if artefact == "board" else places[0]
    pattern = places[..., None] % 2 * 2.0 - 1
    tints = rng.normal(0, TINT / np.sqrt(3), (SOURCES, 3))
    for source in range(SOURCES):
        for group in range(groups):
            contents = 128 + _draw_contents(rng)
            fakes = 2
            if kind == "uneven":
                contents = contents + tints[source]
                fakes = (1, 4)[source % 2]
            for fake in [0] + [1] * fakes:
                picture = contents + rng.normal(0, NOISE, contents.shape)
                if fake:
                    picture = picture + ARTEFACT * pattern
                    picture = picture + (tints[source] if kind == "cue" else 0)
                labels.append(fake)
                sources.append(source)
                numbers.append(source * groups + group)
                pixels.append(np.clip(picture, 0, 255).astype(np.uint8))
    folds = (np.array(sources) < LEARNED).astype(np.int16)
    table = small.make_table(np.array(labels, np.int8), folds)
    table["group"], table["source"] = numbers, [f"source{s}" for s in sources]
    manifest = write_manifest(table, "train", folder / "train.parquet")
    return manifest, small.keep_pixels(folder / "images.bin", np.stack(pixels))


def _draw_contents(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Smooth colours, `(SIDE, SIDE, 3)`, and a grain of any strength up to that of the artefact."""
    coarse = rng.normal(0, CONTENTS, (4, 4, 3))
    smooth = np.kron(coarse, np.ones((SIDE // 4, SIDE // 4, 1)))
    return smooth + rng.normal(0, rng.uniform(0, 2 * ARTEFACT), smooth.shape)


def run_world(kind: str, seed: int, names: list[str], groups: int = GROUPS) -> list[dict[str, Any]]:
    """Trains each variant; the figures of its last weights and their average."""
    params = CompareParams.model_validate(SETTINGS)
    processes = Processes(torch.device("cpu"))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        train, store = make_world(kind, seed, groups, Path(folder))
        rows, unseen = train.rows_to_learn(0), train.fold_rows(0)
        for name in names:
            task = TrainingTask(params.resolve_variant(name), store, train, rows, seed)
            trained = train_network(task, processes)
            judged = judge_unseen(trained, task, unseen, processes)
            for weights, own in judged.items():
                place = (kind, name, seed, len(rows.row_ids), weights)
                line = (*place, *(own.figures[measure] for measure in MEASURES))
                found.append(dict(zip(FIELDS, line, strict=True)))
    return found


def tell(found: list[dict[str, Any]]) -> None:
    """Prints means, differences and verdicts of each kind."""
    console = build_console()
    for kind in dict.fromkeys(row["kind"] for row in found):
        runs: dict[tuple[str, int, int], dict[str, dict[str, float | None]]] = {}
        for row in found:
            if row["kind"] == kind:
                place = (row["variant"], int(row["world"]), int(row["rows"]))
                figures: dict[str, float | None] = {m: float(row[m]) for m in MEASURES}
                runs.setdefault(place, {})[row["weights"]] = figures
        names = list(dict.fromkeys(variant for variant, _, _ in runs))
        scores = [RunScores(rows, name, world, by) for (name, world, rows), by in runs.items()]
        entries = summarise_runs(scores, names)
        console.rule(kind)
        print_report(build_grids(entries, names[0]), list_verdicts(entries, names[0]), [], console)


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=12, help="of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("heads_study.csv"))
    parser.add_argument("--table", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--quick", action="store_true", help="a small world of each kind, no file")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    if given.quick:
        tell([row for kind in KINDS for row in run_world(kind, 0, list(VARIANTS), groups=6)])
        return
    if not given.table:
        run(given)
    with given.out.open(newline="", encoding="utf-8") as file:
        tell(list(csv.DictReader(file)))


def run(given: argparse.Namespace) -> None:
    """Runs what the file of results lacks."""
    done: set[tuple[str, str, str]] = set()
    if given.out.exists():
        with given.out.open(newline="", encoding="utf-8") as file:
            known = list(csv.DictReader(file))
        done = {(row["kind"], row["variant"], row["world"]) for row in known}
    with given.out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not done:
            writer.writeheader()
        for world in range(given.worlds):
            for kind in given.kinds.split(","):
                names = given.variants.split(",")
                names = [name for name in names if (kind, name, str(world)) not in done]
                writer.writerows(run_world(kind, world, names) if names else [])
                file.flush()
            print(f"\r{world + 1} of {given.worlds} worlds", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
