"""Columns: what is read from dumps, for which rows, and what may be fitted on."""

from dataclasses import fields, replace

import numpy as np
import pytest
from synthetic_world import (
    BACKBONES,
    SHIFT,
    Plan,
    World,
    build_world,
    draw_columns,
    draw_rows,
    hold_out,
    spare,
    write_member_dump,
)

from features.core import manifest
from features.core.manifest import read_manifest, write_manifest
from features.errors import LeakageError, MissingArtifactError, StaleArtifactError
from stage2_ensemble.columns.columns import (
    CalibrationColumns,
    HeldOutColumns,
    build_fold_columns,
    check_fittable,
    count_inner_folds,
    read_dumps,
    read_held_out,
)

PLAN = Plan(active=(0, 1), reals=12, calibration=6)


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory) -> World:
    return build_world(tmp_path_factory.mktemp("columns"), PLAN)


@pytest.fixture
def own_world(tmp_path) -> World:
    return build_world(tmp_path, PLAN)


def read_train(world: World, fold: int):
    folder = world.root / "artifacts" / "dumps"
    return read_dumps(folder, world.train, BACKBONES, fold, world.train.digest)


def read_role(world: World, role: str, backbones=BACKBONES, folds=(0,)):
    folder, manifest = world.root / "artifacts" / "dumps", getattr(world, role)
    return read_held_out(folder, manifest, backbones, folds, world.train.digest)


def test_fold_rows_and_calibration_rows_are_told_apart(shared_world):
    train = shared_world.train
    for k in (0, 1):
        dumps = read_train(shared_world, k)
        fold, spared = build_fold_columns(dumps, train)
        np.testing.assert_array_equal(fold.row_ids, np.flatnonzero(train.folds == k))
        np.testing.assert_array_equal(spared.row_ids, np.flatnonzero(train.folds == -1))
        for columns in (fold, spared):
            assert columns.fold == k
            assert columns.backbones == BACKBONES
            np.testing.assert_array_equal(columns.labels, train.labels[columns.row_ids])
        np.testing.assert_array_equal(fold.weights, train.weights[fold.row_ids])
        np.testing.assert_array_equal(fold.groups, train.groups[fold.row_ids])
        assert fold.domains.tolist() == train.table["generator"][fold.row_ids].tolist()
        assert set(fold.domains[fold.labels == 0]) == {""}
        assert fold.sources.tolist() == train.table["source"][fold.row_ids].tolist()
        assert {"phone", "camera"} < set(fold.sources[fold.labels == 0])
        assert isinstance(spared, CalibrationColumns)


def test_columns_take_no_more_of_a_manifest_than_they_need(shared_world, monkeypatch):
    monkeypatch.setattr(manifest, "ROW_GROUP", 8)
    train = read_manifest(shared_world.root / "artifacts" / "manifest", "train")
    dumps = read_train(shared_world, 0)
    found, wanted = (build_fold_columns(dumps, own)[0] for own in (train, shared_world.train))
    for name in ("labels", "weights", "groups", "domains", "sources", "tuning"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert "table" not in vars(train)


def test_logits_are_corrected_and_stand_with_their_rows(shared_world):
    dumps = read_train(shared_world, 1)
    fold, _ = build_fold_columns(dumps, shared_world.train)
    for place, dump in enumerate(dumps):
        at = np.searchsorted(dump.row_ids, fold.row_ids)
        np.testing.assert_array_equal(fold.logits[:, place], dump.logits[at] + np.float64(SHIFT))
        np.testing.assert_array_equal(fold.embeddings[place], dump.embeddings[at])


def test_backbones_stand_in_the_order_asked_for(shared_world):
    forth = read_role(shared_world, "val")[0]
    back = read_role(shared_world, "val", BACKBONES[::-1])[0]
    np.testing.assert_array_equal(forth.logits, back.logits[:, ::-1])
    np.testing.assert_array_equal(forth.embeddings[0], back.embeddings[2])


def test_held_out_columns_carry_no_labels(shared_world):
    columns = read_role(shared_world, "val", folds=(1, 0))
    assert [c.fold for c in columns] == [1, 0]
    names = {field.name for field in fields(HeldOutColumns)}
    assert names == {
        "fold",
        "backbones",
        "row_ids",
        "logits",
        "crop_logits",
        "embeddings",
        "digests",
        "encoders",
        "extras",
        "extra_names",
    }
    assert len(columns[0]) == len(shared_world.val)


def test_unreadable_test_rows_are_not_among_the_columns(shared_world):
    columns = read_role(shared_world, "test")[0]
    assert 3 not in columns.row_ids
    assert len(columns) == len(shared_world.test) - 1


def test_train_rows_cannot_be_read_as_held_out(shared_world):
    with pytest.raises(ValueError, match="train"):
        read_role(shared_world, "train")


@pytest.mark.parametrize("how", ["positions", "mask"])
def test_take_keeps_rows_together(how):
    columns = draw_columns(reals=5, fakes=7)
    named = np.array([f"generator {i}" for i in range(12)], object)
    extras = np.arange(24, dtype=np.float32).reshape(12, 2)
    columns = replace(columns, domains=named, extras=extras, extra_names=("a", "b"))
    places = np.array([1, 4, 9])
    taken = columns.take(places if how == "positions" else np.isin(np.arange(12), places))
    assert type(taken) is type(columns)
    assert (taken.fold, taken.backbones) == (columns.fold, columns.backbones)
    assert (taken.extra_names, taken.digests) == (columns.extra_names, columns.digests)
    for name in ("row_ids", "logits", "labels", "weights", "groups", "domains", "extras"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(columns, name)[places])
    for new, old in zip(taken.embeddings, columns.embeddings, strict=True):
        np.testing.assert_array_equal(new, old[places])


def test_only_fold_columns_may_be_fitted_on():
    columns = draw_columns(reals=4, fakes=4)
    check_fittable(columns)
    held = hold_out(columns)
    spared = spare(columns)
    with pytest.raises(LeakageError, match=r"HeldOutColumns; rows 1000, 1001.*\(8 rows\)"):
        check_fittable(held)
    with pytest.raises(LeakageError, match="CalibrationColumns"):
        check_fittable(spared)


def test_what_is_not_known_stays_unknown():
    taken = draw_columns(reals=5, fakes=7).take(np.arange(3))
    assert taken.domains is None
    assert taken.extras is None


@pytest.mark.parametrize(
    ("reals", "fakes", "wanted", "parts"),
    [(4, 9, 5, 4), (9, 4, 5, 4), (9, 9, 5, 5), (1, 9, 5, 1), (0, 9, 5, 0), (9, 9, 1, 1)],
)
def test_parts_are_no_more_than_groups_of_the_rarer_class(reals, fakes, wanted, parts):
    whole = draw_columns(reals=20, fakes=30)
    real = whole.labels == 0
    numbers = np.where(real, np.cumsum(real) % max(reals, 1), 100 + np.cumsum(~real) % fakes)
    columns = replace(whole, groups=numbers)
    if not reals:
        columns = columns.take(columns.labels == 1)
    held = [len(np.unique(columns.groups[columns.labels == y])) for y in (0, 1)]
    assert held == [reals, fakes]
    for folds in ([columns], [whole, columns], [columns, whole]):
        assert count_inner_folds(folds, wanted) == parts


def test_parts_are_counted_of_fold_rows_alone():
    columns = draw_columns(reals=4, fakes=4)
    spared = spare(columns)
    for forbidden in (hold_out(columns), spared):
        with pytest.raises(LeakageError, match=type(forbidden).__name__):
            count_inner_folds([columns, forbidden], 3)


# --- stale and missing dumps


def test_a_missing_dump_names_the_stage_that_makes_it(shared_world):
    with pytest.raises(MissingArtifactError, match=r"dvc repro dump@net-x-1"):
        read_role(shared_world, "val", ["net-a", "net-x"], [1])


@pytest.mark.parametrize("backbone", ["net-a", "net_c"])
def test_a_member_of_another_train_manifest_is_stale(own_world, backbone):
    for role in ("train", "val"):
        write_member_dump(own_world, backbone, 0, role, train_digest="f" * 64)
    with pytest.raises(StaleArtifactError, match=f"ffffffff.*dvc repro train@{backbone}-0"):
        read_train(own_world, 0)
    with pytest.raises(StaleArtifactError, match=f"ffffffff.*dvc repro train@{backbone}-0"):
        read_role(own_world, "val")


def test_members_that_agree_on_another_train_manifest_are_stale_too(own_world):
    for backbone in BACKBONES:
        write_member_dump(own_world, backbone, 0, "test", train_digest="f" * 64)
    with pytest.raises(StaleArtifactError, match="ffffffff"):
        read_role(own_world, "test")


@pytest.mark.fault("dumped rows out of order, missing or of another list")
def test_dumps_of_another_val_list_are_stale(own_world):
    n = len(own_world.val)
    table = draw_rows(1 - own_world.val.labels, np.arange(n), np.full(n, -1), 3)
    path = own_world.root / "artifacts" / "manifest" / "val.parquet"
    changed = replace(own_world, val=write_manifest(table, "val", path))
    with pytest.raises(StaleArtifactError, match=r"val\.json is stale.*dump@net-a-0"):
        read_role(changed, "val")
