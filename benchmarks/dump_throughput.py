"""Images/s of a dump on the CPU, end to end from a store of decoded pixels, against eager torch.

Run: python -m benchmarks.dump_throughput [--quick]

Two classes, untrained weights, a store of uint8 pixels of the size that the network sees, log-odds
and embeddings out. Side by side, in batches of 32 with all threads of torch:

ours      what `dump` takes (engine: auto): ONNX Runtime, normalising in its graph; rows gathered
          beside the work. Its log-odds agree with torch's to 1e-4, or it would not be taken
torch     ours with engine: torch, channels-last
eager     rows gathered, `(x / 255 - mean) / std` in float32, contiguous and channels first, the
          module called as timm makes it: logits alone, no embeddings

All sides take turns in one process. A ratio is the median over the rounds of images/s of ours /
the other side's. Building the graph happens once for a member and is told apart.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timm
import torch
from rich.console import Console
from rich.table import Table

from features.caching.shard_files import ShardFiles
from features.core.manifest import Ids
from features.pixels.store import RawStore
from stage1_cnn.dump.onnx import LEAST_PIXELS, choose_engine
from stage1_cnn.networks.network import get_normalisation
from stage1_cnn.networks.normalise import Normaliser
from stage1_cnn.scoring.engines import Engine, TorchEngine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import CPU_BATCH, score_rows

SIZE = 224
CPU = torch.device("cpu")
MODELS = {"resnet18": "resnet18", "mobilenetv3": "mobilenetv3_small_100"}
IMAGES = {"resnet18": (64, 384), "mobilenetv3": (320, 1536)}
"""Images of one round, quick and not."""


def make_store(folder: Path, count: int) -> RawStore:
    """Noise: what an image shows does not change the time that it takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    files = ShardFiles(folder, "images")
    pixels.tofile(files.locate(0).path)
    return RawStore(files, np.arange(count) * pixels[0].nbytes, SIZE)


@dataclass
class Sides:
    """All sides of one network."""

    store: RawStore
    rows: Ids
    network: torch.nn.Module
    ours: Engine
    torch: Engine
    built_in: float
    """Seconds that building the graph took."""

    def score_ours(self) -> np.ndarray:
        return score_rows(self.ours, self.store, self.rows, Processes(CPU)).logits

    def score_torch(self) -> np.ndarray:
        return score_rows(self.torch, self.store, self.rows, Processes(CPU)).logits

    @torch.inference_mode()
    def score_eager(self) -> np.ndarray:
        mean, std = (torch.tensor(x)[:, None, None] for x in get_normalisation(self.network))
        scores = []
        for start in range(0, len(self.rows), CPU_BATCH):
            pixels = torch.from_numpy(self.store.gather(self.rows[start : start + CPU_BATCH]))
            planes = pixels.permute(0, 3, 1, 2).contiguous().float()
            logits = self.network((planes / 255 - mean) / std)
            scores.append((logits[:, 1] - logits[:, 0]).numpy())
        return np.concatenate(scores)


def build_sides(model: str, store: RawStore, rows: Ids) -> Sides:
    """The same weights for all; the eager side has a network of its own, channels first."""
    torch.manual_seed(0)
    eager = timm.create_model(model, num_classes=2).eval()
    network = timm.create_model(model, num_classes=2).eval()
    network.load_state_dict(eager.state_dict())
    normalise = Normaliser(*get_normalisation(network), SIZE, CPU)
    plain = TorchEngine(network.to(memory_format=torch.channels_last), normalise)
    start = time.perf_counter()
    pixels = torch.from_numpy(store.gather(rows[:CPU_BATCH]))
    ours = choose_engine(plain, "auto", pixels, LEAST_PIXELS, Processes(CPU))
    return Sides(store, rows, eager, ours, plain, time.perf_counter() - start)


def measure(run: Callable[[], np.ndarray], images: int) -> tuple[float, np.ndarray]:
    """Images a second, and the log-odds."""
    start = time.perf_counter()
    logits = run()
    return images / (time.perf_counter() - start), logits


def compare(sides: Sides, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Images/s of each side by round, and the largest difference of ours from eager."""
    names = ("ours", "torch", "eager")
    for name in names:  # first calls are nobody's time
        getattr(replace(sides, rows=sides.rows[:CPU_BATCH]), f"score_{name}")()
    rates: dict[str, list[float]] = {name: [] for name in names}
    logits = {}
    for _ in range(rounds):
        for name in names:
            rate, logits[name] = measure(getattr(sides, f"score_{name}"), len(sides.rows))
            rates[name].append(rate)
    return rates, float(np.abs(logits["ours"] - logits["eager"]).max())


def main() -> None:
    """Run all sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images, under a minute")
    quick = parser.parse_args().quick
    rounds = 3 if quick else 7
    table = Table("network", "images", "eager", "torch", "ours", "by", "graph built in", "agree to")
    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), max(counts[not quick] for counts in IMAGES.values()))
        for name, model in MODELS.items():
            rows = np.arange(IMAGES[name][not quick])
            sides = build_sides(model, store, rows)
            rates, difference = compare(sides, rounds)
            pace = {side: f"{statistics.median(found):,.0f}" for side, found in rates.items()}
            table.add_row(
                model, f"{len(rows)}", pace["eager"], pace["torch"], pace["ours"],
                sides.ours.name, f"{sides.built_in:.1f} s", f"{difference:.0e}",
            )  # fmt: skip
            pairs = zip(rates["ours"], rates["eager"], strict=True)
            ratios[name] = statistics.median(a / b for a, b in pairs)
    console = Console(width=120)
    console.print(
        f"Images/s at {SIZE} px, float32, {torch.get_num_threads()} threads, batches of "
        f"{CPU_BATCH}, medians of {rounds} rounds in turn."
    )
    console.print(table)
    for name, ratio in ratios.items():
        print(f"ratio dump_{name}_vs_eager {ratio:.2f}")


if __name__ == "__main__":
    main()
