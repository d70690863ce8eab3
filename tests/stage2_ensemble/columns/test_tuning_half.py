"""The half that settings are tuned on, and the one that judges them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_world import draw_columns, draw_grouped, hold_out

from features.errors import LeakageError, ManifestError
from stage2_ensemble.columns.columns import build_fold_columns, read_dumps
from stage2_ensemble.columns.tuning_half import mark_untuned, take_tuning


def draw_halved(fold: int = 0):
    columns = draw_grouped(fold)
    return replace(columns, tuning=columns.groups % 2 == 0)


def test_the_halves_share_no_group_and_lose_no_row():
    folds = [draw_halved(0), draw_halved(1)]
    for columns, mask, half in zip(folds, mark_untuned(folds), take_tuning(folds), strict=True):
        assert not set(columns.groups[mask]) & set(half.groups)
        assert len(half) + mask.sum() == len(columns)
        assert half.tuning.all()


def test_rows_from_dumps_know_their_half(done):
    for fold in done.plan.active:
        dumps = read_dumps(Path("artifacts/dumps"), done.train, ["net-a"], fold, done.train.digest)
        columns, _ = build_fold_columns(dumps, done.train)
        (mask,) = mark_untuned([columns])
        assert 0.3 < mask.mean() < 0.7
        assert not set(columns.groups[mask]) & set(columns.groups[~mask])


@pytest.mark.parametrize(
    ("tuned", "said"),
    [
        (slice(0, 0), "tuned on holds 0 groups of reals"),
        (slice(None), "left to judge holds 0 groups of fakes"),
    ],
)
def test_a_half_without_groups_of_a_class_is_named(tuned, said):
    columns = draw_columns(2)
    tuning = np.zeros(len(columns), bool)
    tuning[tuned] = True
    with pytest.raises(ManifestError, match=f"fold 2: the half that is {said}, fewer than 2"):
        take_tuning([replace(columns, tuning=tuning)])


def test_rows_in_one_group_are_one_group():
    columns = draw_columns()
    groups = np.where(columns.labels == 1, columns.groups, -1)
    tuning = (columns.groups % 2 == 0) | (columns.labels == 0)
    with pytest.raises(ManifestError, match=r"2 problems(?s:.)*1 groups of reals(?s:.)*0 groups"):
        mark_untuned([replace(columns, groups=groups, tuning=tuning)])


def test_columns_without_halves_and_rows_without_labels_are_refused():
    with pytest.raises(ValueError, match="do not say"):
        mark_untuned([draw_columns()])
    with pytest.raises(LeakageError):
        mark_untuned([hold_out(draw_columns())])
