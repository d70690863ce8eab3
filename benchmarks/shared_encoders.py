"""Seconds a picture of a bundle's networks: members of a frozen encoder as one, or each alone.

Run: python -m benchmarks.shared_encoders [--quick] [--project FOLDER]

shared   one file: the encoder once, a head for each member
apart    a file for each member, as networks that learn have

Of an untrained ViT-tiny at 224 pixels, whose last layer and an inner one are read with two heads
each; or of all networks of a finished project,
which is only read. On one thread, batches of 16 squares of noise, as labelling asks. The sides take
turns; the ratio is the median over the rounds of seconds apart / shared.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.labelling import SIZE, choose_untrained
from features.core.members import Correction, MemberId
from features.settings.scoring import Scoring
from features.settings.sections import load_params
from serving.bundle import run
from serving.bundle.networks import write_network
from serving.bundle.opening import TorchNetwork, open_network, open_networks
from serving.bundle.settings import BundleParams
from serving.format.facts import MemberFacts, Sight
from serving.reading.shown import RowSquares
from serving.scoring.networks import BundledNetwork
from serving.scoring.scorer import TOGETHER
from serving.scoring.views import Squares
from stage1_cnn.networks.frozen_network import FrozenNetwork, set_head
from stage1_cnn.networks.joined_network import JoinedNetwork
from stage1_cnn.networks.member import Member
from stage1_cnn.networks.network import build_network
from stage1_cnn.scoring.engines import build_torch_engine
from stage2_ensemble.fitted.bundle import read_ensemble

MODEL, FOLDS = "vit_tiny_patch16_224", 2
LAYERS = {"last": None, "inner": 5}
"""By backbone."""
Networks = list[TorchNetwork]


@dataclass(frozen=True)
class Side:
    """Networks that are loaded, and what their files take."""

    networks: Sequence[tuple[BundledNetwork, list[MemberFacts]]]
    """With the members that they are."""
    size: int

    def ask(self, squares: dict[Sight, Squares]) -> tuple[float, dict[str, bytes]]:
        """Seconds a square of each, and log-odds by member."""
        start = time.perf_counter()
        found = [own.score(squares[own.facts.sees]).log_odds for own, _ in self.networks]
        seconds = (time.perf_counter() - start) / TOGETHER
        pairs = zip(self.networks, found, strict=True)
        said = {f.name: own[:, f.head].tobytes() for (_, facts), own in pairs for f in facts}
        return seconds, said


def make_networks() -> tuple[Networks, Networks]:
    """Shared and apart, of random weights."""
    whole = choose_untrained(MODEL, "frozen")
    members = [
        Member(
            MemberId(name, fold, "", "", Correction()),
            whole.model_copy(update={"layer": layer}), 2, 1, 1, 1, 1,
        )
        for name, layer in LAYERS.items()
        for fold in range(FOLDS)
    ]  # fmt: skip

    def open_one(number: int, member: Member) -> FrozenNetwork:
        torch.manual_seed(0)
        network = build_network(member.settings)
        assert isinstance(network, FrozenNetwork)
        set_head(network, torch.randn(network.head.in_features), float(number))
        return network

    def wrap(own: Sequence[Member], network: torch.nn.Module) -> TorchNetwork:
        engine = build_torch_engine(network, whole, torch.device("cpu"))
        return TorchNetwork(tuple(own), engine, Scoring(), Sight(mode="square", side=SIZE))

    networks = list(map(open_one, range(len(members)), members))
    apart = [wrap([own], network) for own, network in zip(members, networks, strict=True)]
    return [wrap(members, JoinedNetwork(networks))], apart


def open_project(project: Path) -> tuple[Networks, Networks]:
    """Shared and apart, of a finished project."""
    with chdir(project):
        members = run.read_project_members(load_params(BundleParams), read_ensemble(run.STACKERS))
        return open_networks(members), [open_network((own,)) for own in members]


def write_side(networks: Networks, squares: dict[Sight, Squares], folder: Path) -> Side:
    """Into files, and opened again."""
    folder.mkdir()
    loaded = []
    for network in networks:
        count = len(squares[network.sees])
        rows = RowSquares(squares[network.sees], np.arange(count), np.ones(count, np.int64))
        facts = write_network(network, rows, folder)
        loaded.append((BundledNetwork(folder, facts[0]), facts))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Side(loaded, size)


def main() -> None:
    """Write both sides, ask them in turn, print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--project", type=Path, help="folder of a finished project")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shared, apart = open_project(options.project) if options.project else make_networks()
    rng = np.random.default_rng(0)
    squares = {
        network.sees: rng.integers(0, 256, (TOGETHER, *[network.sees.side] * 2, 3), np.uint8)
        for network in shared
    }
    with tempfile.TemporaryDirectory() as folder:
        sides = [
            write_side(networks, squares, Path(folder) / name)
            for name, networks in (("shared", shared), ("apart", apart))
        ]
        first, second = (side.ask(squares)[1] for side in sides)
        same = first == second
        count = 3 if options.quick else 7
        rounds = [[side.ask(squares)[0] for side in sides] for _ in range(count)]
    table = Table("", "files, MB", "seconds a picture")
    for number, (name, side) in enumerate(zip(("shared", "apart"), sides, strict=True)):
        seconds = statistics.median(both[number] for both in rounds)
        table.add_row(name, f"{side.size / 1e6:.1f}", f"{seconds:.3f}")
    Console().print(table)
    print(f"log-odds are {'the same to the bit' if same else 'not the same'}")
    ratio = statistics.median(alone / together for together, alone in rounds)
    print(f"ratio shared_encoders {ratio:.2f}")


if __name__ == "__main__":
    main()
