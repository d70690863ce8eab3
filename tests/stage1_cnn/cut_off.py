"""Trains one small network again and again, each time killed without warning, until it is done.

Run by `test_resuming.py` as a program of its own: the children are forked, so that each life costs
no import, and a fork is safe only where nothing has started threads.

    python cut_off.py FOLDER LIVES
"""

import hashlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from small_task import keep_pixels, make_pixels, make_settings, make_table

from features.core.manifest import write_manifest
from features.runtime.interruption import Interruption
from features.settings.learning import Augment, Ema, Network, Schedule
from stage1_cnn.runtime.checkpoints import Checkpoints
from stage1_cnn.runtime.session import Session
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.fold_curve import build_curve
from stage1_cnn.train.loop import train_network
from stage1_cnn.train.trainer import Trainer

torch.set_num_threads(1)
SETTINGS = {
    "schedule": Schedule(epochs=10, warmup_epochs=0.5, batch_size=16),
    "network": Network(dropout=0.2, drop_path=0.1),
    "model": "test_convnext",
    "augment": Augment(hflip=0.5, web=0.5, mixup=0.5),
    "ema": Ema(half_life_epochs=0.5),
}


def train(folder, states):
    """The whole training, or what is left of it; returns digests of all that it gives."""
    labels = np.array([0, 1, 1, 1, 1] * 32, dtype=np.int8)
    folds = np.repeat(np.arange(4), 40).astype(np.int16)
    folder.mkdir(exist_ok=True)
    manifest = write_manifest(make_table(labels, folds), "train", folder / "train.parquet")
    store = keep_pixels(folder / "images.bin", make_pixels(labels))
    alone = Processes(torch.device("cpu"))
    checkpoints = Checkpoints(states)
    session = Session(alone, Interruption(), checkpoints, save_minutes=0)
    rows = manifest.rows_to_learn(0)
    settings = make_settings(**SETTINGS)
    task = TrainingTask(settings, store, manifest, rows, 0)
    trained = train_network(task, alone, session, build_curve(task, alone))
    return {
        "raw": digest(trained.last_state),
        "ema": digest(trained.ema_state),
        "history": json.dumps(trained.history),
    }


def digest(state):
    content = b"".join(value.numpy().tobytes() for value in state.values())
    return hashlib.sha256(content).hexdigest()


def die_at(moment, count):
    """This process is killed before or after step `count` of this life, or while it saves it."""
    advance, replace = Trainer.advance, os.replace
    seen = [0]

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def advance_or_die(trainer, batch):
        seen[0] += 1
        if moment == "before" and seen[0] == count:
            kill()
        loss = advance(trainer, batch)
        if moment == "after" and seen[0] == count:
            kill()
        return loss

    def replace_or_die(*paths):
        if moment == "saving" and seen[0] == count:
            kill()
        replace(*paths)

    Trainer.advance, os.replace = advance_or_die, replace_or_die


def live(folder, states, death=None):
    """Trains in a child; returns what it says, or `None` if it was killed."""
    said = folder / "said.json"
    said.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        if death:
            die_at(*death)
        said.write_text(json.dumps(train(folder, states)))
        os._exit(0)
    os.waitpid(child, 0)
    return json.loads(said.read_text()) if said.exists() else None


def main(folder, lives):
    folder.mkdir(parents=True, exist_ok=True)
    through = live(folder, folder / "through")
    rng = random.Random(0)
    deaths = [(rng.choice(["before", "after", "saving"]), rng.randint(1, 3)) for _ in range(lives)]
    killed = [live(folder, folder / "cut", death) for death in deaths]
    resumed = live(folder, folder / "cut")
    print(json.dumps({"through": through, "killed": killed, "resumed": resumed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
