"""The leak detector with real networks: shuffled labels must look like chance on the fold rows."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from small_task import SIZE, keep_pixels, make_settings, make_table

from features.artifacts.dumps import Dump, check_dump
from features.core.manifest import LearnRows, write_manifest
from features.core.members import Correction, MemberId
from features.errors import LeakageError
from features.settings.learning import Augment, Schedule
from stage1_cnn.networks.network import build_network
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import score_rows
from stage1_cnn.train.loop import train_network

CPU = torch.device("cpu")


def check_chance(labels, scores):
    """The AUC of `n` scores without knowledge lies within 3.3 standard errors of one half."""
    fakes, reals = int(labels.sum()), int((1 - labels).sum())
    error = np.sqrt((fakes + reals + 1) / (12 * fakes * reals))
    assert abs(roc_auc_score(labels, scores) - 0.5) < 3.3 * error


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory):
    """160 patterns, easy to remember, whose labels were shuffled before folding."""
    folder = tmp_path_factory.mktemp("shuffled")
    rng = np.random.default_rng(0)
    labels = rng.permutation([0, 1] * 80).astype(np.int8)
    patterns = rng.integers(0, 256, (160, 4, 4, 3), dtype=np.uint8)
    pixels = patterns.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
    table = make_table(labels, np.repeat([0, 1, 2, 3], 40).astype(np.int16))
    manifest = write_manifest(table, "train", folder / "train.parquet")
    return manifest, keep_pixels(folder / "images.bin", pixels)


def score_fold(shuffled, rows):
    manifest, store = shuffled
    settings = make_settings(
        schedule=Schedule(epochs=25, warmup_epochs=1, batch_size=16), augment=Augment(hflip=0)
    )
    torch.manual_seed(0)
    trained = train_network(TrainingTask(settings, store, manifest, rows, 0), Processes(CPU))
    network = build_network(settings)
    network.load_state_dict(trained.state)
    fold_rows = manifest.fold_rows(0)
    engine = build_torch_engine(network, settings, CPU)
    logits = score_rows(engine, store, fold_rows, Processes(CPU)).logits
    return manifest.labels[fold_rows].astype(int), logits


def test_an_honest_member_knows_nothing_of_shuffled_labels(shuffled):
    check_chance(*score_fold(shuffled, shuffled[0].rows_to_learn(0)))


def test_a_member_that_learned_from_its_fold_is_found_out(shuffled):
    everything = LearnRows(0, np.arange(len(shuffled[0])), shuffled[0].digest)
    with pytest.raises(AssertionError):
        check_chance(*score_fold(shuffled, everything))


def test_a_dump_of_learned_rows_is_refused(shuffled):
    manifest, _ = shuffled
    rows = manifest.rows_to_learn(0).row_ids
    member = MemberId("r", 0, "m", manifest.digest, Correction())
    zeros = np.zeros(len(rows), np.float32)
    dump = Dump("train", member, rows, zeros, np.zeros((len(rows), 2), np.float16))
    with pytest.raises(LeakageError, match="learned from"):
        check_dump(dump, manifest)
