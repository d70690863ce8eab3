"""Trains one small network in however many processes `torchrun` has started.

Run by `test_processes.py`. The first process writes what came out into a folder.

    torchrun --nproc-per-node 2 together.py FOLDER
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from frozen_task import save_weights
from small_task import keep_pixels, make_pixels, make_settings, make_table

from features.core.manifest import Manifest, write_manifest
from features.errors import Stopped
from features.runtime.interruption import Interruption
from features.settings.learning import (
    Augment,
    Ema,
    Loss,
    Network,
    Optimizer,
    Sampling,
    Schedule,
)
from features.settings.training import Weights
from stage1_cnn.losses.cross_entropy import CrossEntropy
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import join_processes
from stage1_cnn.train.fold_curve import build_curve
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.soup import train_member

# Layer norm: rows do not see each other, and parts of a batch are the batch.
JOBS = {
    "plain": {
        "schedule": Schedule(epochs=2, batch_size=30, max_skipped=3),
        "sampling": Sampling(pairs=True),
        "network": Network(head="cosine"),
    },
    "parts": {
        "schedule": Schedule(epochs=2, warmup_epochs=0.5, batch_size=32, accumulate=3),
        "loss": Loss(kind="class_mean"),
        "sampling": Sampling(mode="natural"),
        "optimizer": Optimizer(lr=3e-3, clip_grad=1.0, frozen_epochs=0.5),
    },
    "few": {
        "schedule": Schedule(epochs=2, warmup_epochs=0.5, batch_size=30),
        "optimizer": Optimizer(tune="lora", lr=1e-2, lora_rank=4),
        "network": Network(checkpointing=True),
    },
    "soup": {
        "schedule": Schedule(epochs=1, batch_size=30, soup=2),
        "pretrained": "start.safetensors",
    },
    "mixed": {
        "schedule": Schedule(epochs=2, warmup_epochs=0.5, batch_size=32),
        "augment": Augment(hflip=0.5, mixup=0.5, cutmix=0.5, self_blend=0.2, noise=0.3, web=0.3),
        "loss": Loss(label_smoothing=0.1),
    },
}
STOPPED_AT = 5


class StopAt(Interruption):
    """Stops after so many steps, as the first process alone sees it."""

    def __init__(self, steps, rank):
        super().__init__()
        self.left = steps if rank == 0 else -1

    def find_reason(self, needed=0.0):
        self.left -= 1
        return "enough" if self.left == 0 else None


def make_task(folder, rank):
    labels = np.array([0, 1, 1, 1, 1] * 32, dtype=np.int8)
    folds = np.repeat(np.arange(4), 40).astype(np.int16)
    table = make_table(labels, folds)
    table["group"] = np.arange(len(labels)) // 5
    table["weight"] = np.random.default_rng(0).uniform(0.2, 2, len(labels))
    folder = folder / str(rank)
    folder.mkdir(parents=True, exist_ok=True)
    manifest: Manifest = write_manifest(table, "train", folder / "train.parquet")
    save_weights(folder / "start.safetensors", "test_convnext")
    return manifest, keep_pixels(folder / "images.bin", make_pixels(labels))


def train(name, task, sessions):
    manifest, store = task
    processes, start = sessions.processes, Weights(root=str(store._reader.files.folder))
    changes = {"model": "test_convnext", "ema": Ema(half_life_epochs=0.2), "weights": start}
    settings = make_settings(**changes, **JOBS[name])
    learned = TrainingTask(settings, store, manifest, manifest.rows_to_learn(0), 0)
    trained = train_member(learned, sessions, build_curve(learned, processes))
    judged = judge_unseen(trained, learned, manifest.fold_rows(0), processes)
    figures = {name: own.figures for name, own in judged.items()}
    return {"state": trained.state, "history": trained.history, "judged": figures}


def stop_half_way(folder, task, processes):
    """Leaves a state of the job `mixed`."""
    stop = StopAt(STOPPED_AT, processes.rank)
    try:
        train("mixed", task, Sessions(processes, stop, folder / "states"))
    except Stopped:
        return
    raise AssertionError("it should have stopped")


def count_bad_rows(task, processes):
    """What is said where one row of one process has a loss that is no number."""
    measure = CrossEntropy.measure

    def poison(self, logits, targets):
        losses = measure(self, logits, targets)
        return losses * float("nan") if processes.rank == processes.world - 1 else losses

    CrossEntropy.measure = poison
    try:
        train("plain", task, Sessions(processes, Interruption()))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        CrossEntropy.measure = measure
    return "nothing"


def ask_the_others(processes):
    part = processes.take_slice(np.arange(7, dtype=np.float32)[:, None] * [1, 10])
    return {
        "gathered": processes.gather(part.astype(np.float16), 7).tolist(),
        "few": processes.gather(processes.take_slice(np.arange(1)), 1).tolist(),
        "none": processes.gather(processes.take_slice(np.empty((0, 3))), 0).shape,
        "any": processes.any(processes.rank == 1, False),
        "sum": float(processes.add(torch.tensor(1.0 + processes.rank))),
        "shared": processes.broadcast({"from": processes.rank}),
        "collected": processes.collect(processes.rank),
    }


def main(folder):
    torch.set_num_threads(1)
    warnings.simplefilter("error", FutureWarning)  # what the next torch takes away
    with join_processes() as processes:
        task = make_task(folder, processes.rank)
        sessions = Sessions(processes, Interruption())
        found = {name: train(name, task, sessions) for name in JOBS}
        found["asked"] = ask_the_others(processes)
        found["poisoned"] = count_bad_rows(task, processes)
        stop_half_way(folder, task, processes)
        if processes.is_first:
            torch.save(found, folder / "found.pt")
            print(json.dumps({"world": processes.world}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
