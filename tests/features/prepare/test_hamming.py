"""The search for near hashes: exact, whatever the bits are like, and never quadratic when dense."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.pixels.thumbnails import HASH_BITS
from features.prepare import hamming, out_of_core
from features.prepare.hamming import count_differing, link_within, pack_words


def flip_bits(hashes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Inverts `counts[i]` random bits of hash i."""
    bits = np.unpackbits(hashes, axis=1)
    ranks = rng.random(bits.shape).argsort(axis=1).argsort(axis=1)
    return np.packbits(bits ^ (ranks < counts[:, None]), axis=1)


def draw_hashes(n: int, share: float, spread: int, rng: np.random.Generator) -> np.ndarray:
    """Hashes near one of a few, of bits that are 1 in `share` or 1 - `share` of them."""
    likely = np.where(rng.random(HASH_BITS) < 0.5, share, 1 - share)
    bases = np.packbits(rng.random((max(1, n // 8), HASH_BITS)) < likely, axis=1)
    picked = bases[rng.integers(0, len(bases), n)]
    return flip_bits(picked, rng.integers(0, spread + 1, n), rng)


def label_links(links: np.ndarray, n: int) -> list[int]:
    """Component of each row, numbered by first row."""
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(n, n))
    parts = connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(parts, return_index=True, return_inverse=True)
    return first[inverse].tolist()


def confirm_all(first: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.ones(len(first), bool)


SIZES = [(128, 64, 2**14, 2**20, 2**16, 2**22), (2, 3, 5, 7, 4, 9), (0, 1, 1, 1, 1, 1)]
"""Largest small bucket, tile, pairs, batch, part: as they are, and so small that 50 rows use all"""


@pytest.mark.parametrize("sizes", SIZES, ids=["usual", "small", "one by one"])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 50),
    share=st.sampled_from([0.5, 0.85, 0.97, 1.0]),
    spread=st.sampled_from([0, 2, 5, 8, 15]),
    radius=st.sampled_from([0, 3, 7, 15]),
    confirmed=st.sampled_from([1.0, 0.5, 0.1, 0.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_components_are_those_of_all_pairs(
    sizes: tuple[int, ...],
    n: int,
    share: float,
    spread: int,
    radius: int,
    confirmed: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    hashes = draw_hashes(n, share, spread, rng)
    table = rng.random((n, n)) < confirmed
    table |= table.T

    def confirm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return table[first, second]

    names = ("_LARGE", "_HEAD", "_TILE", "_PAIRS", "_BATCH")
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for name, size in zip(names, sizes[:-1], strict=True):
            patch.setattr(hamming, name, size)
        patch.setattr(out_of_core, "PART", sizes[-1])
        patch.setattr(out_of_core, "LARGE", 0)
        words = pack_words(hashes, Path(folder))
        found = link_within(words, np.arange(n), radius, confirm, "test", Path(folder))
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2, dtype=int)
    true = (distances <= radius) & table
    assert true[found[:, 0], found[:, 1]].all()
    assert label_links(found, n) == label_links(np.argwhere(np.triu(true, 1)), n)


@pytest.mark.parametrize("radius", [3, 7, 15])
def test_the_radius_is_met_to_the_bit_wherever_the_bits_lie(radius: int) -> None:
    rng = np.random.default_rng(0)
    count = 3000
    hashes = rng.integers(0, 256, (2 * count, 32), dtype=np.uint8)
    flipped = flip_bits(hashes, radius + np.repeat([0, 1], count), rng)
    words = pack_words(np.concatenate([hashes, flipped]))
    found = link_within(words, np.arange(4 * count), radius, confirm_all, "test")
    assert sorted(np.sort(found, axis=1).tolist()) == [[i, i + 2 * count] for i in range(count)]
    assert (count_differing(words, found[:, 0], found[:, 1]) == radius).all()


def test_only_the_rows_asked_for_are_linked() -> None:
    words = pack_words(np.zeros((6, 32), np.uint8))
    found = link_within(words, np.array([1, 4, 5]), 15, confirm_all, "test")
    assert label_links(found, 6) == [0, 1, 2, 3, 1, 1]


@pytest.mark.parametrize("spread", [0, 7], ids=["equal", "near"])
def test_a_dense_cluster_takes_no_quadratic_work(spread: int) -> None:
    rng = np.random.default_rng(0)
    n = 4000
    hashes = flip_bits(np.zeros((n, 32), np.uint8), rng.integers(0, spread + 1, n), rng)
    asked = []

    def confirm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked.append(len(first))
        return confirm_all(first, second)

    found = link_within(pack_words(hashes), np.arange(n), 15, confirm, "test")
    assert len(set(label_links(found, n))) == 1
    assert sum(asked) < 2 * n  # of 2,000 n pairs


def test_only_pairs_within_the_radius_are_verified_and_each_once() -> None:
    rng = np.random.default_rng(0)
    hashes = np.unique(draw_hashes(300, 0.9, 12, rng), axis=0)
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2, dtype=int)
    asked = []

    def refuse(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        asked.extend(np.sort([first, second], axis=0).T.tolist())
        return np.zeros(len(first), bool)

    assert len(link_within(pack_words(hashes), np.arange(len(hashes)), 15, refuse, "test")) == 0
    assert sorted(asked) == np.argwhere(np.triu(distances <= 15, 1)).tolist()


def test_distances_reach_256() -> None:
    words = pack_words(np.array([[0] * 32, [255] * 32, [1] + [0] * 31], np.uint8))
    assert count_differing(words, np.array([0, 0, 1]), np.array([1, 2, 2])).tolist() == [
        256,
        1,
        255,
    ]


@pytest.mark.parametrize(
    "hashes",
    [np.zeros((3, 8), np.uint8), np.zeros((3, 32), np.int64), np.zeros(32, np.uint8)],
    ids=["64 bits", "wide", "flat"],
)
def test_other_hashes_are_refused(hashes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"not uint8 \(n, 32\)"):
        pack_words(hashes)
