"""Training on squares that are drawn from native pictures."""

import numpy as np
import pytest
import torch
from small_task import make_settings, make_table

from features.caching.shard_files import ShardFiles
from features.core.manifest import Manifest
from features.crops.crop_store import CropStore
from features.crops.picture_store import RawPictures
from features.settings.images import Geometry
from features.settings.learning import Augment, Schedule
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train.fold_metrics import judge_unseen
from stage1_cnn.train.loop import train_network

SIDE, CPU = 32, torch.device("cpu")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Sixty pictures of 40 × 48 … 59 × 48 pixels; each knows the place of every pixel in it."""
    folder = tmp_path_factory.mktemp("pictures")
    labels = (np.arange(60) % 2).astype(np.int8)
    sizes = np.stack([40 + np.arange(60) % 20, np.full(60, 48)], axis=1).astype(np.int32)
    rng = np.random.default_rng(0)
    pictures = []
    for row, (height, width) in enumerate(sizes):
        y, x = np.indices((height, width))
        board = 12.0 * labels[row] * ((y + x) % 2) + rng.normal(128, 2, (height, width))
        pictures.append(np.stack([y, x, board], axis=2).astype(np.uint8))
    files = ShardFiles(folder, "pictures")
    files.locate(0).path.write_bytes(b"".join(picture.tobytes() for picture in pictures))
    places = np.cumsum([0, *(picture.nbytes for picture in pictures)])[:-1]
    folds = (np.arange(60) // 2 % 3).astype(np.int16)
    manifest = Manifest("train", make_table(labels, folds), "digest")
    return manifest, CropStore(RawPictures(files, places, sizes), SIDE)


def make_loader(task, seed=0, processes=None, **changes):
    manifest, store = task
    settings = make_settings(images=Geometry(mode="crop"), **changes)
    rows = manifest.rows_to_learn(0)
    task = TrainingTask(settings, store, manifest, rows, seed)
    return BatchLoader(task, processes or Processes(CPU))


def find_corners(batch):
    """Where each square of a batch lies in its picture."""
    return batch.pixels[:, 0, 0, :2].numpy()


def test_each_draw_is_a_whole_square_of_its_own(task):
    loader = make_loader(task)
    sizes = task[1].pictures.sizes
    corners = []
    for step in range(2 * len(loader)):
        batch = loader.load(step)
        found = find_corners(batch)
        assert (batch.pixels[:, -1, -1, :2].numpy() == found + SIDE - 1).all()
        assert (found + SIDE <= sizes[batch.row_ids]).all()
        corners += [
            (row, *corner) for row, corner in zip(batch.row_ids, found.tolist(), strict=True)
        ]
    assert len(set(corners)) > 0.9 * len(corners)


def test_squares_are_a_function_of_seed_and_draw_however_processes_share_them(task):
    whole = make_loader(task).load(3)
    again = [make_loader(task).load(step) for step in (7, 3)][1]
    assert torch.equal(again.pixels, whole.pixels)
    parts = [make_loader(task, processes=Processes(CPU, rank, 2)).load(3) for rank in (0, 1)]
    assert torch.equal(torch.cat([part.pixels for part in parts]), whole.pixels)
    other = make_loader(task, seed=1).load(3)
    assert (find_corners(other) != find_corners(whole)).any()


def test_faces_are_where_each_draw_shows_them(task):
    manifest, store = task
    faced = Manifest("train", manifest.table.assign(face="0.5,0.25,0.1,0.2"), "digest")
    loader = make_loader((faced, store), augment=Augment(self_blend=0.5))
    batches = [loader.load(step) for step in range(2)]
    faces = np.concatenate([batch.faces for batch in batches])
    corners = np.concatenate([find_corners(batch) for batch in batches]).astype(int)
    sizes = store.pictures.sizes[np.concatenate([batch.row_ids for batch in batches])]
    seen = ~np.isnan(faces[:, 0])
    assert seen.sum() > 0
    found = faces[:, [1, 0, 3, 2]] * SIDE + np.pad(corners, ((0, 0), (0, 2)))
    wanted = np.tile(sizes, 2) * [0.25, 0.5, 0.2, 0.1]
    np.testing.assert_allclose(found[seen], wanted[seen])
    middles = wanted[:, :2] + wanted[:, 2:] / 2 - corners
    assert (seen == ((middles >= 0) & (middles <= SIDE)).all(axis=1)).all()
    assert make_loader(task).load(0).faces is None


def test_a_network_learns_from_squares_with_every_augmentation(task):
    manifest, store = task
    augment = Augment(
        hflip=0.5, rotate90=0.5, crop_min_area=0.9, self_blend=0.2, mixup=0.2, cutmix=0.2, jpeg=0.1
    )
    settings = make_settings(
        images=Geometry(mode="crop"), augment=augment,
        schedule=Schedule(epochs=3, warmup_epochs=0.5, batch_size=16),
    )  # fmt: skip
    processes = Processes(CPU)
    rows = manifest.rows_to_learn(0)
    learned = TrainingTask(settings, store, manifest, rows, 0)
    trained = [train_network(learned, processes) for _ in range(2)]
    for name, value in trained[0].state.items():
        assert torch.equal(value, trained[1].state[name]), name
    judged = judge_unseen(trained[0], learned, manifest.fold_rows(0), processes)
    assert set(judged) == {"raw", "ema"}
