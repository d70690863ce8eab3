"""Trainers of the small task, and what they are compared by."""

import torch
from small_task import make_settings

from features.core.manifest import Manifest
from features.settings.learning import Augment
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.trainer import Trainer

CPU = torch.device("cpu")
ALONE = Processes(CPU)


def change_table(manifest, **columns):
    return Manifest(manifest.role, manifest.table.assign(**columns), manifest.digest)


def equal(first, second):
    return all(torch.equal(first[name], value) for name, value in second.items())


def start(task, seed=0, **changes):
    """A trainer and its batches; layer norm, so that parts of a batch do not see each other."""
    manifest, store = task
    settings = make_settings(**{"model": "test_convnext", "augment": Augment(hflip=0), **changes})
    rows = manifest.rows_to_learn(0)
    torch.manual_seed(seed)
    loader = BatchLoader(TrainingTask(settings, store, manifest, rows, seed), ALONE)
    return Trainer(loader), loader


def advance(trainer, loader, first, stop):
    return [float(trainer.advance(batch)) for batch in loader.iterate(first, stop)]
