"""Small tasks that the tests learn from as well, and stores of noise."""

import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from benchmarks.gpu.report import ROOT
from features.caching.shard_files import ShardFiles, place_items
from features.core.manifest import write_manifest
from features.pixels.store import RawStore
from features.settings.learning import Augment, Network
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.trainer import Trainer


def import_from_tests(name: str) -> ModuleType:
    """A module beside the tests of `stage1_cnn`, which are no package."""
    folder = str(ROOT / "tests" / "stage1_cnn")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def make_pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """Smooth colours with some texture, uint8 `(count, side, side, 3)`."""
    pictures: Tensor = import_from_tests("pictures").make_pictures(count, side, seed)
    return pictures


class Task:
    """160 pictures of 32 px, 1 real to 4 fakes, in 4 folds, and trainings on all but fold 0."""

    def __init__(self, folder: Path) -> None:
        self._small = import_from_tests("small_task")
        labels = np.array([0, 1, 1, 1, 1] * 32, dtype=np.int8)
        folds = np.repeat(np.arange(4), 40).astype(np.int16)
        table = self._small.make_table(labels, folds)
        self.train = write_manifest(table, "train", folder / "train.parquet")
        pixels = self._small.make_pixels(labels)
        self.store: RawStore = self._small.keep_pixels(folder / "images.bin", pixels)
        self.rows = self.train.rows_to_learn(0)

    def start(
        self, processes: Processes, seed: int = 0, **changes: Any
    ) -> tuple[Trainer, BatchLoader]:
        """A trainer and its batches of 16; float32 unless told. `seed`: of weights and dropout."""
        plain = {"network": Network(precision="float32"), "augment": Augment(hflip=0.5)}
        settings = self._small.make_settings(**{**plain, **changes})
        torch.manual_seed(seed)
        task = TrainingTask(settings, self.store, self.train, self.rows, 0)
        loader = BatchLoader(task, processes)
        return Trainer(loader), loader


def advance(trainer: Trainer, loader: BatchLoader, first: int, stop: int) -> list[float]:
    """The losses of steps `first` … `stop - 1`; NaN for one that was skipped."""
    losses = [trainer.advance(batch) for batch in loader.iterate(first, stop)]
    return [float("nan") if loss is None else loss for loss in losses]


def find_largest(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Largest difference of two networks' weights."""
    return max(float((found[k].double() - v.double()).abs().max()) for k, v in wanted.items())


def make_noise_store(folder: Path, count: int, side: int) -> tuple[RawStore, npt.NDArray[np.int8]]:
    """Whatever an image shows takes the same time; and labels, 81 % of them fakes."""
    files = ShardFiles(folder, "noise")
    places = place_items(np.arange(count), side**2 * 3, together=512)
    for start in range(0, count, 512):
        with files.locate(int(places[start])).open() as file:
            file.write(np.random.default_rng(start).bytes(min(512, count - start) * side**2 * 3))
    labels = (np.random.default_rng(0).random(count) < 0.81).astype(np.int8)
    labels[:2] = (0, 1)
    return RawStore(files, places, side), labels


def make_jpegs(folder: Path, count: int, side: int) -> list[str]:
    """Pictures with some grain, about 80 kB each at 512 pixels; their names."""

    def make(number: int) -> str:
        (pixels,) = make_pictures(1, side, number).numpy()
        name = f"{number}.jpg"
        Image.fromarray(pixels).save(folder / name, quality=90, subsampling=2 * (number % 2))
        return name

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(make, range(count)))
