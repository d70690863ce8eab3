"""Groups: rows that share a value or are linked, directly or by others."""

import numpy as np
import pandas as pd
import pytest

from features.splits.groups import build_groups, draw_whole_groups, factorize_groups


@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        ({"a": ["x", "y", "x", "z"]}, [0, 1, 0, 2]),
        ({"a": ["x", "x", "y", "z"], "b": ["1", "2", "2", "3"]}, [0, 0, 0, 1]),
        ({"a": ["", "", "", ""]}, [0, 1, 2, 3]),
        ({"a": ["x", "", "y", ""], "b": ["", "1", "", "1"]}, [0, 1, 2, 1]),
        ({"a": ["x", "1", "y", "z"], "b": ["1", "x", "y", "z"]}, [0, 1, 2, 3]),
        ({"a": ["p", "q", "r", "s"], "b": ["1", "1", "2", "2"], "c": ["", "k", "k", ""]}, [0] * 4),
        ({"a": []}, []),
    ],
    ids=["one column", "chain", "empty", "partly empty", "same text", "three columns", "no rows"],
)
def test_rows_that_share_a_value_are_linked_directly_or_by_others(
    keys: dict[str, list[str]], groups: list[int]
) -> None:
    assert build_groups(pd.DataFrame(keys, dtype=object)).tolist() == groups
    assert build_groups(pd.DataFrame(keys, dtype="str")).tolist() == groups


@pytest.mark.parametrize(
    ("links", "groups"),
    [
        ([], [0, 1, 2, 0, 3, 4]),
        ([(4, 5)], [0, 1, 2, 0, 3, 3]),
        ([(5, 3), (1, 2)], [0, 1, 1, 0, 2, 0]),
        ([(2, 2), (1, 1)], [0, 1, 2, 0, 3, 4]),
        ([(5, 1), (4, 5), (0, 4)], [0, 0, 1, 0, 0, 0]),
        ([(1, 2), (1, 2), (2, 1)], [0, 1, 1, 0, 2, 3]),
    ],
    ids=["none", "a pair", "two pairs", "to itself", "chain", "repeated"],
)
def test_links_join_rows_beside_the_columns(
    links: list[tuple[int, int]], groups: list[int]
) -> None:
    keys = pd.DataFrame({"a": ["x", "", "y", "x", "", "z"]}, dtype="str")
    pairs = np.array(links, np.int64).reshape(-1, 2)
    assert build_groups(keys, pairs).tolist() == groups
    without_columns = pd.DataFrame(index=range(6))
    both = np.concatenate([pairs, [(0, 3)]])
    assert build_groups(without_columns, both).tolist() == groups


@pytest.mark.parametrize("kind", ["object", "str"])
def test_missing_values_link_nothing(kind: str) -> None:
    keys = pd.DataFrame({"a": ["x", None, None, "x", "", ""]}, dtype=kind)
    assert build_groups(keys).tolist() == [0, 1, 2, 0, 3, 4]


def test_groups_do_not_hang_on_the_index_of_the_rows() -> None:
    keys = pd.DataFrame({"a": ["x", "y", "x", "y"]}, index=[7, 3, 7, 1])
    assert build_groups(keys, np.array([[0, 2]])).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "groups",
    [[], [0], [2, 0, 2, 1, 0], [7, 3, 7, 3, 5], [10**12, 4, 10**12], [-1, 5, -1, 0]],
    ids=["none", "one", "dense", "gaps", "far apart", "negative"],
)
def test_groups_are_numbered_in_the_order_of_their_first_rows(groups: list[int]) -> None:
    codes, first = factorize_groups(np.array(groups, np.int64))
    known = list(dict.fromkeys(groups))
    assert codes.tolist() == [known.index(group) for group in groups]
    assert first.tolist() == [groups.index(group) for group in known]


def test_large_groups_come_no_sooner_than_small_ones() -> None:
    sizes = np.repeat([1, 20], 60)
    groups = np.repeat(np.arange(120), sizes)
    labels = np.zeros(len(groups), np.int8)
    names = pd.Series([f"{i}.png" for i in range(len(groups))])
    first = []
    for seed in range(200):
        drawn = draw_whole_groups(labels, groups, names, (1, 0), seed, "val")
        assert np.unique(groups[drawn]).size == 1
        first.append(drawn.sum() > 1)
    assert 0.35 < np.mean(first) < 0.65  # by chance once in 10,000 outside
    again = np.random.default_rng(0).permutation(len(groups))
    moved = draw_whole_groups(labels[again], groups[again], names[again], (1, 0), 7, "val")
    same = draw_whole_groups(labels, groups, names, (1, 0), 7, "val")
    assert set(names[again][moved]) == set(names[same])
