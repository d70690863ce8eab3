"""Folds and draws: what stays together, what is stratified, what does not move."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ManifestError
from features.splits.folds import (
    COMMON,
    assign_folds,
    check_classes,
    draw_calibration,
    split_evenly,
)
from features.splits.groups import draw_half, draw_whole_groups
from features.splits.names import hash_names


def name_rows(n: int) -> list[str]:
    return [f"{i}.jpg" for i in range(n)]


def are_whole(parts: np.ndarray, groups: np.ndarray) -> bool:
    """Whether each group lies in one part."""
    return bool((pd.Series(parts).groupby(groups).nunique() == 1).all())


def mix_labels(n: int, share: float = 0.81, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(n) < share).astype(np.int8)


ROWS = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.lists(st.integers(0, n // 2), min_size=n, max_size=n),
    )
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=ROWS, count=st.integers(2, 7), seed=st.integers(0, 3))
def test_no_group_straddles_folds(rows: tuple[list[int], list[int]], count: int, seed: int) -> None:
    labels, groups = np.array(rows[0], np.int8), np.array(rows[1])
    folds = assign_folds(labels, groups, name_rows(len(labels)), count, seed)
    assert are_whole(folds, groups)
    assert ((folds >= 0) & (folds < count)).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=ROWS, count=st.integers(2, 5), seed=st.integers(0, 3))
def test_no_group_straddles_inner_parts(
    rows: tuple[list[int], list[int]], count: int, seed: int
) -> None:
    labels, groups = np.array(rows[0], np.int8), np.array(rows[1])
    if min(len(set(groups[labels == label])) for label in (0, 1)) < count:
        with pytest.raises(ManifestError, match="fewer than"):
            split_evenly(labels, groups, count, seed)
        return
    parts = split_evenly(labels, groups, count, seed)
    assert are_whole(parts, groups)
    assert ((parts >= 0) & (parts < count)).all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_fold_holds_its_share_of_each_class(size: int) -> None:
    n = 5000
    labels = mix_labels(n)
    groups = np.arange(n) // size
    folds = assign_folds(labels, groups, name_rows(n), 5, 0)
    shares = [labels[folds == fold].mean() for fold in range(5)]
    sizes = [(folds == fold).mean() for fold in range(5)]
    assert shares == pytest.approx([labels.mean()] * 5, abs=0.03)
    assert sizes == pytest.approx([0.2] * 5, abs=0.02)


@pytest.mark.filterwarnings("error")
def test_a_few_doubles_among_single_rows_are_no_obstacle() -> None:
    labels, groups = np.array([0, 1] * 20), np.arange(40)
    groups[2], groups[3] = 0, 1
    folds = assign_folds(labels, groups, name_rows(40), 5, 0)
    assert are_whole(folds, groups)
    parts = split_evenly(labels, groups, 5, 0)
    assert are_whole(parts, groups)


@pytest.mark.parametrize("seed", range(10))
def test_inner_parts_each_hold_both_classes_beside_groups(seed: int) -> None:
    labels = np.array([0] * 8 + [1] * 60)
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 4, *range(5, 65)])
    parts = split_evenly(labels, groups, 5, seed)
    assert {(int(p), int(y)) for p, y in zip(parts, labels, strict=True)} == {
        (part, label) for part in range(5) for label in (0, 1)
    }


def test_inner_parts_of_single_rows_are_even() -> None:
    labels = mix_labels(503)
    parts = split_evenly(labels, np.arange(503), 5, 0)
    for label in (0, 1):
        sizes = np.bincount(parts[labels == label], minlength=5)
        assert sizes.max() - sizes.min() <= 1


def test_new_single_rows_move_no_old_one() -> None:
    n, more = 20_000, 5_000
    labels, names = mix_labels(n + more), name_rows(n + more)
    before = assign_folds(labels[:n], np.arange(n), names[:n], 5, 0)
    order = np.random.default_rng(1).permutation(n + more)
    shuffled = [names[i] for i in order]
    after = np.empty(n + more, np.int16)
    after[order] = assign_folds(labels[order], np.arange(n + more), shuffled, 5, 0)
    np.testing.assert_array_equal(after[:n], before)


@pytest.mark.parametrize("reals", [5, 7, 12])
def test_each_fold_gets_its_share_of_a_class_that_is_rare(reals: int) -> None:
    labels = np.array([0] * reals + [1] * 60)
    names = name_rows(len(labels))
    for seed in range(200):
        folds = assign_folds(labels, np.arange(len(labels)), names, 5, seed)
        check_classes(labels, folds, range(5))
        sizes = np.bincount(folds[labels == 0], minlength=5)
        assert sizes.max() - sizes.min() <= 1
    assert len({*folds[:5].tolist()}) == 5


@pytest.mark.parametrize("n", [100, 400, COMMON - 1])
def test_no_fold_has_much_more_of_a_rare_class_than_its_share(n: int) -> None:
    labels = np.zeros(n, np.int8)
    for seed in range(10):
        sizes = np.bincount(assign_folds(labels, np.arange(n), name_rows(n), 5, seed), minlength=5)
        assert 0.75 * n / 5 <= sizes.min()
        assert sizes.max() <= 1.1 * n / 5 + 1


def test_new_rows_below_move_no_row_of_a_rare_class_and_one_above_few() -> None:
    n = 400
    labels, names = mix_labels(n + 50, 0.5), name_rows(n + 50)
    before = assign_folds(labels[:n], np.arange(n), names[:n], 5, 0)
    after = assign_folds(labels, np.arange(n + 50), names, 5, 0)
    np.testing.assert_array_equal(after[:n], before)
    again = assign_folds(np.append(0, labels[:n]), np.arange(n + 1), ["new", *names[:n]], 5, 0)
    assert (again[1:] != before).mean() < 0.15


def test_new_rows_move_no_group_to_the_other_half() -> None:
    rng = np.random.default_rng(0)
    groups, names = rng.integers(0, 300, 2000), name_rows(2000)
    half = draw_half(groups, names, "a")
    assert are_whole(half, groups)
    assert 0.4 < len(np.unique(groups[half])) / 300 < 0.6
    between = rng.permutation(np.repeat([True, False], [2000, 500]))  # old rows, in their order
    numbers, all_names = 1000 + np.arange(2500) // 2, [f"new{i}" for i in range(2500)]
    numbers[between] = groups + 5000
    for place, name in zip(np.flatnonzero(between), names, strict=True):
        all_names[place] = name
    np.testing.assert_array_equal(draw_half(numbers, all_names, "a")[between], half)
    assert (draw_half(groups, names, "b") != half).any()


def test_groups_of_a_common_make_up_follow_their_first_name_and_never_move() -> None:
    n = 4 * COMMON
    labels, groups = np.zeros(n + 200, np.int8), np.arange(n + 200) // 4
    labels[1::4] = 1
    names = name_rows(n + 200)
    before = assign_folds(labels[:n], groups[:n], names[:n], 5, 0)
    after = assign_folds(labels, groups, names, 5, 0)
    np.testing.assert_array_equal(after[:n], before)
    single = assign_folds(labels[::4], np.arange(COMMON + 50), names[::4], 5, 0)
    np.testing.assert_array_equal(after[::4], single)


@pytest.mark.parametrize("more", [-1, 0])
def test_groups_of_a_rarer_make_up_are_stratified_exactly(more: int) -> None:
    count = COMMON + more
    labels, groups = np.tile([0, 1, 1], count), np.repeat(np.arange(count), 3)
    folds = assign_folds(labels, groups, name_rows(3 * count), 5, 0)
    sizes = np.bincount(folds)
    assert are_whole(folds, groups)
    assert (sizes.max() - sizes.min() <= 3) == (more < 0)


def test_common_and_rare_groups_give_each_fold_its_share() -> None:
    rng = np.random.default_rng(0)
    sizes = np.concatenate([np.full(5000, 2), np.full(300, 7), rng.integers(20, 60, 50)])
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    labels = mix_labels(len(groups))
    folds = assign_folds(labels, groups, name_rows(len(groups)), 5, 0)
    assert are_whole(folds, groups)
    for label in (0, 1):
        shares = np.bincount(folds[labels == label]) / (labels == label).sum()
        assert shares == pytest.approx([0.2] * 5, abs=0.015)


def test_names_may_be_a_list_or_a_column() -> None:
    labels, groups, names = mix_labels(3000), np.arange(3000) // 2, name_rows(3000)
    column = pd.Series(names, dtype="str", index=range(9000, 12000))
    first, second = (assign_folds(labels, groups, n, 5, 0) for n in (names, column))
    np.testing.assert_array_equal(first, second)
    drawn, again = (
        draw_whole_groups(labels, groups, n, (50, 50), 0, "val") for n in (names, column)
    )
    np.testing.assert_array_equal(drawn, again)


@pytest.mark.parametrize("size", [1, 3])
def test_folds_follow_the_seed_alone(size: int) -> None:
    labels, groups, names = mix_labels(600), np.arange(600) // size, name_rows(600)
    first, again, other = (assign_folds(labels, groups, names, 5, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("wanted", [(10, 40), (40, 10), (0, 25), (25, 0)])
def test_whole_groups_are_drawn_until_enough_of_each_class(
    size: int, wanted: tuple[int, int]
) -> None:
    labels, groups = mix_labels(1000, 0.7), np.arange(1000) // size
    drawn = draw_whole_groups(labels, groups, name_rows(1000), wanted, 0, "test")
    assert are_whole(drawn, groups)
    for label in (0, 1):
        assert (labels[drawn] == label).sum() >= wanted[label]
    if size == 1:
        assert (drawn & (labels == 0)).sum() == wanted[0]
        assert (drawn & (labels == 1)).sum() == wanted[1]


def draw_one_by_one(
    labels: Any, groups: Any, hashes: tuple[Any, Any], wanted: tuple[int, int]
) -> set[int]:
    """What `draw_whole_groups` says of itself, group by group; `hashes`: that choose a row of each
    group, and that order groups by it.
    """
    leads = {g: min(np.flatnonzero(groups == g), key=lambda i: hashes[0][i]) for g in set(groups)}
    order = sorted(leads, key=lambda g: hashes[1][leads[g]])
    have, chosen = [0, 0], set()
    for group in order:
        held = [int(((groups == group) & (labels == label)).sum()) for label in (0, 1)]
        if any(held[label] and have[label] < wanted[label] for label in (0, 1)):
            have = [have[label] + held[label] for label in (0, 1)]
            chosen.add(group)
    return chosen


@settings(max_examples=150, deadline=None, derandomize=True)
@given(rows=ROWS, reals=st.integers(0, 30), fakes=st.integers(0, 30), seed=st.integers(0, 3))
def test_groups_are_drawn_as_if_one_by_one(
    rows: tuple[list[int], list[int]], reals: int, fakes: int, seed: int
) -> None:
    labels, groups = np.array(rows[0], np.int8), np.array(rows[1])
    names = name_rows(len(labels))
    drawn = draw_whole_groups(labels, groups, names, (reals, fakes), seed, "val")
    hashes = (hash_names(names, 0, "lead"), hash_names(names, seed, "val"))
    assert set(groups[drawn]) == draw_one_by_one(labels, groups, hashes, (reals, fakes))
    assert are_whole(drawn, groups)


def test_a_draw_for_another_purpose_or_seed_is_another_one() -> None:
    labels, groups, names = mix_labels(1000), np.arange(1000), name_rows(1000)
    first = draw_whole_groups(labels, groups, names, (50, 50), 0, "val")
    again = draw_whole_groups(labels, groups, names, (50, 50), 0, "val")
    np.testing.assert_array_equal(first, again)
    for seed, why in ((0, "blend"), (1, "val")):
        assert (first & draw_whole_groups(labels, groups, names, (50, 50), seed, why)).sum() < 50


@pytest.mark.parametrize(
    ("reals", "share", "least", "rows"),
    [
        (400, 0.05, 100, 100),
        (399, 0.05, 100, 0),
        (4000, 0.05, 100, 200),
        (4000, 0.25, 1, 1000),
        (4000, 0.26, 1, 0),
        (4000, 0.0, 100, 0),
    ],
)
def test_calibration_rows_take_at_most_a_quarter_of_a_class(
    reals: int, share: float, least: int, rows: int
) -> None:
    labels = np.array([0] * reals + [1] * 5000)
    n = len(labels)
    drawn = draw_calibration(labels, np.arange(n), name_rows(n), share, least, 0)
    assert (labels[drawn] == 0).sum() == rows


@pytest.mark.parametrize("seed", range(5))
def test_a_giant_group_never_becomes_calibration_rows(seed: int) -> None:
    labels = np.array([0] * 100 + [1] * 1000)
    groups = np.arange(1100)
    groups[100:1000] = 100
    drawn = draw_calibration(labels, groups, name_rows(1100), 0.05, 1, seed)
    assert drawn[100:1000].sum() == 0


@pytest.mark.fault(
    "a fold without a class",
    "error with the counts, which suggests fewer folds",
    "Label files",
)
@pytest.mark.parametrize(
    ("labels", "folds", "active", "problem"),
    [
        ([0, 1, 0, 1], [0, 0, 1, 1], [0, 1], ""),
        ([0, 1, 1, 1], [0, 0, 1, 1], [1], "fold 1: 0 reals and 2 fakes"),
        ([0, 1, 1, 1], [0, 0, 1, 1], [0], "the other folds than 0: 0 reals and 2 fakes"),
        ([0, 1, 0, 1], [0, 0, 1, -1], [0], "the other folds than 0: 1 reals and 0 fakes"),
        ([0, 1, 0, 1], [0, 0, 1, 1], [2], "fold 2: 0 reals and 0 fakes"),
    ],
)
def test_a_fold_without_a_class_is_told_with_its_counts(
    labels: list[int], folds: list[int], active: list[int], problem: str
) -> None:
    if not problem:
        check_classes(np.array(labels), np.array(folds, np.int16), active)
        return
    with pytest.raises(ManifestError, match=r"folds\.count") as caught:
        check_classes(np.array(labels), np.array(folds, np.int16), active)
    assert any(found.startswith(problem) for found in caught.value.problems)


def test_inner_parts_need_as_many_groups_of_each_class() -> None:
    labels, groups = np.array([0] * 6 + [1] * 50), np.array([0, 0, 0, 1, 1, 1, *range(2, 52)])
    with pytest.raises(ManifestError, match="2 groups of reals, fewer than 5"):
        split_evenly(labels, groups, 5, 0)
