"""Pictures/s of `forgerystack label`, from files to rows, against the bare graphs of its networks.

Run: python -m benchmarks.labelling [--quick]

A bundle of two untrained networks at 224 pixels, of which the mean ships, and JPEGs of photographs
with grain, 400 x 300 (quality 90); then another one, whose networks see four crops of each. Side by
side, with all cores:

ours      `Ensemble.stream`: files read, decoded, resized, scored, combined, calibrated, into rows
bare      ONNX Runtime with all threads, batches of 32 squares that lie in memory: log-odds alone

The sides take turns; a ratio is the median over the rounds of squares/s of ours / bare. The first
score is the wall-clock time of `python -m serving.label` on one picture, best of three.
"""

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.large.second_stage import make_second_stage
from features.core.files import write_json
from features.core.members import Correction, MemberId
from features.demo.photos import PHOTOS, read_photo
from features.settings.images import Limits
from features.settings.learning import Augment, Ema, Loss, Network, Optimizer, Sampling, Schedule
from features.settings.scoring import Scoring
from features.settings.training import Kind, MemberSettings, Weights
from serving import Ensemble
from serving.bundle.networks import write_network
from serving.bundle.opening import TorchNetwork
from serving.format.facts import FORM, BundleFacts, MemberFacts, PixelFacts, Sight
from serving.format.files import FACTS, SECOND_STAGE, seal_bundle
from serving.reading.shown import RowSquares
from serving.reading.sources import list_pictures, open_sources
from serving.scoring.scorer import TOGETHER
from stage1_cnn.networks.member import Member
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring.engines import build_torch_engine
from stage2_ensemble.fitted.bundle import write_ensemble

SIZE, BATCH = 224, 32
SIGHTS = {
    "labelling": Sight(mode="square", side=SIZE),
    "labelling_crops": Sight(mode="crop", side=SIZE, most=4),
}
MODELS = {"resnet": "resnet18", "mobilenet": "mobilenetv3_small_100"}


def make_pictures(folder: Path, count: int) -> Path:
    """JPEGs `0.jpg` …"""
    folder.mkdir()
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(read_photo("train", name)) for name in list(PHOTOS["train"])[:9]]
    for i in range(count):
        pixels = np.asarray(photos[i % 9].resize((400, 300)))
        grain = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(grain).save(folder / f"{i}.jpg", quality=90)
    return folder


def make_bundle(folder: Path, sees: Sight) -> Path:
    """Of untrained networks and the mean of their log-odds."""
    folder.mkdir()
    torch.manual_seed(0)
    members = [write_member(name, model, sees, folder) for name, model in MODELS.items()]
    digests = {member.backbone: member.digest for member in members}
    write_ensemble(make_second_stage(digests, "train"), folder / SECOND_STAGE)
    facts = BundleFacts(
        form=FORM,
        shipped="mean",
        pixels=PixelFacts(size=SIZE, equalize=False, limits=Limits()),
        members=tuple(members),
        forensics=(),
        samples=(),
        versions={"python": platform.python_version()},
    )
    write_json(folder / FACTS, facts.model_dump(mode="json"))
    seal_bundle(folder)
    return folder


def choose_untrained(model: str, kind: Kind) -> MemberSettings:
    """A network of random weights for squares of `SIZE` pixels."""
    return MemberSettings(
        kind=kind, model=model, pretrained=False, image_size=SIZE, sampling=Sampling(),
        loss=Loss(), optimizer=Optimizer(), schedule=Schedule(epochs=1), ema=Ema(),
        augment=Augment(), network=Network(), weights=Weights(), seed=0,
    )  # fmt: skip


def write_member(name: str, model: str, sees: Sight, folder: Path) -> MemberFacts:
    """An untrained network as a graph."""
    settings = choose_untrained(model, "trained")
    engine = build_torch_engine(build_network(settings), settings, torch.device("cpu"))
    member = Member(MemberId(name, 0, name, "train", Correction()), settings, 2, 1, 1, 1, 1)
    squares = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    rows = RowSquares(squares, np.arange(8), np.ones(8, np.int64))
    [facts] = write_network(TorchNetwork((member,), engine, Scoring(), sees), rows, folder)
    return facts


def open_bare(bundle: Path) -> list[Any]:
    """Sessions as onnxruntime makes them, with all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    options.log_severity_level = 3
    paths = sorted(bundle.glob("members/*.onnx"))
    return [onnxruntime.InferenceSession(path, options) for path in paths]


def time_ours(ensemble: Ensemble, pictures: Path, count: int, squares: int) -> float:
    """Squares a second, of so many pictures with so many squares each."""
    given = itertools.islice(list_pictures(open_sources([str(pictures)])), count)
    start = time.perf_counter()
    found = sum(1 for _ in ensemble.stream(given))
    return found * squares / (time.perf_counter() - start)


def time_bare(sessions: list[Any], squares: np.ndarray) -> float:
    """Squares a second."""
    start = time.perf_counter()
    for session in sessions:
        for i in range(0, len(squares), BATCH):
            session.run(["log_odds"], {"pixels": squares[i : i + BATCH]})
    return len(squares) / (time.perf_counter() - start)


def time_sides(
    bundle: Path, pictures: Path, count: int, most: int, rounds: int
) -> list[tuple[float, float]]:
    """Squares a second of both sides, by round."""
    ensemble, sessions = Ensemble.load(bundle), open_bare(bundle)
    shape = (count * most, SIZE, SIZE, 3)
    squares = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    time_ours(ensemble, pictures, count, most), time_bare(sessions, squares[:BATCH])
    return [
        (time_ours(ensemble, pictures, count, most), time_bare(sessions, squares))
        for _ in range(rounds)
    ]


def time_first(bundle: Path, picture: Path) -> float:
    """Seconds from the start of the program to its end, on one picture."""
    command = [sys.executable, "-m", "serving.label", str(picture), "--bundle", str(bundle)]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Make a bundle and pictures, run both sides in turn, print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer pictures and rounds")
    quick = parser.parse_args().quick
    count, rounds = (4 * TOGETHER, 3) if quick else (32 * TOGETHER, 5)
    table = Table("", "ours", "bare graphs", "first score, seconds", "bundle, MB")
    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = make_pictures(Path(folder) / "pictures", count)
        for name, sees in SIGHTS.items():
            own = count // sees.most
            bundle = make_bundle(Path(folder) / name, sees)
            first = time_first(bundle, pictures / "0.jpg")
            rates = time_sides(bundle, pictures, own, sees.most, rounds)
            size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
            ratios[name] = statistics.median(ours / bare for ours, bare in rates)
            sides = (f"{statistics.median(side):.0f}" for side in zip(*rates, strict=True))
            table.add_row(
                f"squares/s, of {own} pictures", *sides, f"{first:.1f}", f"{size / 1e6:.0f}"
            )
    Console().print(table)
    for name, ratio in ratios.items():
        print(f"ratio {name} {ratio:.3f}")


if __name__ == "__main__":
    main()
