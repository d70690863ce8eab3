"""Batches under the web's damage: the same squares however they are shared out and kept."""

import numpy as np
import pytest
import torch
from pictures import make_pictures
from small_task import make_pixels, make_settings

from features.settings.learning import Augment
from stage1_cnn.contact_sheet.run import make_views
from stage1_cnn.damage.squares import SquareDamage
from stage1_cnn.sampling.loader import BatchLoader
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes


def damage(squares, first, chance=0.7):
    changed = squares.copy()
    SquareDamage(chance, 5).apply(changed, first)
    return changed


def test_a_square_follows_from_its_draw_however_batches_are_cut():
    squares = make_pictures(8, 40).numpy()
    whole = damage(squares, 1000)
    parts = [damage(squares[i : i + 3], 1000 + i) for i in (0, 3, 6)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    untouched = (whole == squares).reshape(8, -1).all(1)
    assert 0 < untouched.sum() < 8
    assert (damage(squares, 1008) != whole).any()


def test_without_a_chance_nothing_happens():
    squares = make_pictures(4, 40).numpy()
    np.testing.assert_array_equal(damage(squares, 0, chance=0.0), squares)


def test_what_is_learned_from_is_damaged_by_draw_and_labels_stay(task):
    train, store = task
    rows, alone = train.rows_to_learn(0), Processes(torch.device("cpu"))
    changes = [make_settings(augment=Augment(web=w)) for w in (0.0, 0.5)]
    tasks = [TrainingTask(settings, store, train, rows, 3) for settings in changes]
    plain, web = (BatchLoader(task, alone) for task in tasks)
    stepwise = [web.load(step) for step in range(4)]
    for one, other in zip(web.iterate(2, 4), stepwise[2:], strict=True):  # gone on with
        assert torch.equal(one.pixels, other.pixels)
    changed = []
    for step, batch in enumerate(stepwise):
        before = plain.load(step)
        np.testing.assert_array_equal(batch.row_ids, before.row_ids)
        np.testing.assert_array_equal(batch.labels, before.labels)
        changed.append((batch.pixels != before.pixels).flatten(1).any(1))
    assert torch.cat(changed).float().mean() == pytest.approx(0.5, abs=0.2)


def test_the_contact_sheet_shows_it():
    labels = np.array([0, 1] * 4)
    pixels = make_pixels(labels)
    views = make_views(pixels, labels, make_settings(augment=Augment(hflip=0, web=1.0)), 2)
    for view in views[1:]:
        assert (view.images != pixels).reshape(8, -1).any(1).sum() >= 6
        np.testing.assert_array_equal(view.fakeness, labels)
    assert (views[1].images != views[2].images).any()
