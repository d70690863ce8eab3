"""Exact search for hashes within a few bits of each other, grown into components.

Method: multi-index hashing (Norouzi, Punjani, Fleet 2012, "Fast Search in Hamming Space with
Multi-Index Hashing"). Of the four 64-bit words of two hashes within 15 bits, one differs in at most
three bits; if that word is cut into five parts, at least two of them are equal. So sorting by each
pair of parts of each word brings every such pair of hashes into one bucket.

Buckets are sorted in parts that memory holds, so that of each row it keeps 16 bytes; the rest may
lie on the disk.
"""

from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from features.core.manifest import Ids
from features.pixels.thumbnails import HASH_BITS, Hashes
from features.prepare.out_of_core import allocate, expand, split_by_value
from features.runtime.progress import track

Words = npt.NDArray[np.uint64]
Verify = Callable[[Ids, Ids], npt.NDArray[np.bool_]]

_WORDS = HASH_BITS // 64
# Five parts make 40 keys of 25 bits. For 524,429 uneven hashes the paper's 16 keys of 16 bits
# (four parts) take twice as long, and 80 keys of 32 bits (six) no less.
_PARTS = 5
_LARGE = 128  # nodes; larger buckets are compared in tiles
_PAIRS = 2**20  # pairs of nodes of smaller ones compared at a time
_HEAD, _TILE = 64, 2**14  # nodes by nodes of a tile
_BATCH = 2**16  # pairs of rows verified at a time


def pack_words(hashes: Hashes, scratch: Path | None = None) -> Words:
    """`(4, n)` words of `(n, 32)` hashes, their bits in one fixed shuffled order.

    Neighbouring bits of a perceptual hash are alike; shuffled, no part of a word is much more
    uneven than another. `scratch`: a folder for many of them. Raises `ValueError` on another shape
    or type.
    """
    if hashes.ndim != 2 or hashes.shape[1] != HASH_BITS // 8 or hashes.dtype != np.uint8:
        raise ValueError(f"hashes are {hashes.dtype} {hashes.shape}, not uint8 (n, 32)")
    order = np.random.default_rng(0).permutation(HASH_BITS)
    words: Words = allocate((_WORDS, len(hashes)), np.uint64, scratch)
    for begin in range(0, len(hashes), _TILE):
        bits = np.unpackbits(hashes[begin : begin + _TILE], axis=1).take(order, axis=1)
        words[:, begin : begin + _TILE] = np.packbits(bits, axis=1).view(np.uint64).T
    return words


def count_differing(words: Words, first: Ids, second: Ids) -> npt.NDArray[np.int16]:
    """`(m,)` Hamming distances of pairs of columns of `(4, n)` words."""
    counts = np.bitwise_count(words[:, first] ^ words[:, second])
    return np.asarray(counts.sum(axis=0, dtype=np.int16))


def link_within(
    words: Words, rows: Ids, radius: int, verify: Verify, title: str, scratch: Path | None = None
) -> Ids:
    """`(m, 2)` links that span the components of `rows` at `radius` (0 … 15).

    These are the components of the graph of all pairs of rows whose hashes, columns of the `(4, n)`
    `words`, differ in at most `radius` bits and that `verify(first, second)` confirms; each link is
    such a pair. `verify` is asked only about pairs within the radius, in bounded batches. Of very
    many rows 64 bytes each lie in the folder `scratch`, if there is one.
    """
    search = _Search(words, rows, radius, verify, scratch)
    for key in track(range(len(search.keys)), title, len(search.keys), unit="keys"):
        search.search_buckets(key)
    return np.concatenate(search.links)


def _build_keys(radius: int) -> list[tuple[int, np.uint64]]:
    """(word, mask) pairs: hashes within `radius` are equal under at least one of them.

    Some word differs in at most `radius // 4` bits, so in no more of its parts.
    """
    ends = [64 * part // _PARTS for part in range(_PARTS + 1)]
    parts = [2**end - 2**begin for begin, end in pairwise(ends)]
    kept = _PARTS - radius // _WORDS
    masks = [np.uint64(sum(chosen)) for chosen in combinations(parts, kept)]
    return [(word, mask) for word in range(_WORDS) for mask in masks]


def _mark_starts(*columns: Ids | Words) -> npt.NDArray[np.bool_]:
    """`(n,)` mask of the first row of each run of rows equal in all columns."""
    starts = np.ones(len(columns[0]), bool)
    starts[1:] = False
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return starts


def _find_ends(starts: npt.NDArray[np.bool_]) -> Ids:
    """`(n,)` position after the run that each row belongs to."""
    ends = np.append(np.flatnonzero(starts)[1:], len(starts))
    return np.asarray(ends[np.cumsum(starts) - 1])


class _Search:
    """Components, grown from single nodes as links are confirmed.

    A node stands for rows of one hash that are linked with the first of them: one comparison of
    hashes does for all. Nodes of one component are not compared, and of the near pairs between
    components a few at a time are verified, so that dense clusters take no quadratic time.
    """

    def __init__(
        self, words: Words, rows: Ids, radius: int, verify: Verify, scratch: Path | None
    ) -> None:
        self.keys = _build_keys(radius)
        self.links: list[Ids] = [np.empty((0, 2), np.int64)]
        self._radius, self._confirm, self._scratch = radius, verify, scratch
        n, count = len(rows), 0
        self._words: Words = allocate((_WORDS, n), np.uint64, scratch)
        self._rows, self._begin, self._size = (allocate((n,), np.int64, scratch) for _ in range(3))
        done = 0
        for places in split_by_value(lambda block: words[0, rows[block]], n, scratch):
            ordered, begin = self._merge_equal(words, rows[places])
            part = slice(count, count + len(begin))
            self._rows[done : done + len(ordered)] = ordered
            self._begin[part], self._size[part] = done + begin, np.diff(begin, append=len(ordered))
            self._words[:, part] = words[:, ordered[begin]]
            done, count = done + len(ordered), part.stop
        self._words = self._words[:, :count]
        self._parent = np.arange(count)

    def _merge_equal(self, words: Words, rows: Ids) -> tuple[Ids, Ids]:
        """`rows` in the order of nodes, and the place at which each node begins."""
        order = rows[np.lexsort(tuple(words[:, rows]))]
        starts = _mark_starts(*words[:, order])
        heads, more = np.flatnonzero(starts)[np.cumsum(starts) - 1], np.flatnonzero(~starts)
        node = np.arange(len(order))
        for begin in range(0, len(more), _BATCH):
            again = more[begin : begin + _BATCH]
            alike = again[self._verify(order[heads[again]], order[again])]
            node[alike] = heads[alike]
        by_node = np.argsort(node, kind="stable")
        return order[by_node], np.flatnonzero(_mark_starts(node[by_node]))

    def search_buckets(self, key: int) -> None:
        """Links what is near among nodes that are equal under this key."""
        word, mask = self.keys[key]
        column = self._words[word]
        for nodes in split_by_value(lambda block: column[block] & mask, len(column), self._scratch):
            self._search_part(nodes, np.asarray(column[nodes] & mask), key)

    def _search_part(self, nodes: Ids, values: Words, key: int) -> None:
        """Among `nodes` of whole buckets."""
        order = np.argsort(values)
        starts = _mark_starts(values[order])
        order = order[~(starts & np.append(starts[1:], True))]  # not alone in their bucket
        nodes, values = nodes[order], values[order]
        roots = self._find(nodes)
        order = np.lexsort((roots, values))
        nodes, roots, values = nodes[order], roots[order], values[order]
        starts = _mark_starts(values)
        ends, run_ends = _find_ends(starts), _find_ends(_mark_starts(values, roots))
        begins = np.flatnonzero(starts)
        large = (np.diff(begins, append=len(nodes)) > _LARGE) & (run_ends[begins] < ends[begins])
        for begin in begins[large]:
            self._compare_large(nodes[begin : ends[begin]], key)
        in_large = np.repeat(large, np.diff(begins, append=len(nodes)))
        self._compare_small(nodes, run_ends, np.where(in_large, 0, ends - run_ends), key)

    def _compare_small(self, nodes: Ids, after: Ids, counts: Ids, key: int) -> None:
        """Compares each node with the `counts` nodes from position `after`."""
        words = self._get_screen(nodes, key)
        some = np.flatnonzero(counts)
        total = np.cumsum(counts[some])
        cuts = np.searchsorted(total, np.arange(_PAIRS, total[-1] if len(total) else 0, _PAIRS))
        for part in np.split(some, cuts):
            index, step = expand(counts[part])
            i, j = part[index], after[part][index] + step
            near = np.flatnonzero(self._may_be_near(words[:, i], words[:, j]))
            self._link(nodes[i[near]], nodes[j[near]], key)

    def _compare_large(self, nodes: Ids, key: int) -> None:
        """Compares the nodes of one bucket, a few with all the rest at a time.

        Small components come first: the few are then compared with a large one in one go.
        """
        known = -1
        while len(nodes):
            if len(self.links) != known:
                known = len(self.links)
                roots = self._find(nodes)
                _, part, sizes = np.unique(roots, return_inverse=True, return_counts=True)
                rank = np.argsort(np.argsort(sizes, kind="stable"))[part]
                order = np.argsort(rank, kind="stable")
                nodes, rank = nodes[order], rank[order]
                words = self._get_screen(nodes, key)
            first = int(np.searchsorted(rank, rank[0], side="right"))
            if first == len(nodes):
                return
            for begin in range(first, len(nodes), _TILE):
                tile = slice(begin, begin + _TILE)
                near = self._may_be_near(words[:, :_HEAD, None], words[:, None, tile])
                i, j = np.divmod(np.flatnonzero(near), near.shape[1])
                later = rank[i] < rank[tile][j]
                self._link(nodes[i[later]], nodes[tile][j[later]], key)
            nodes, rank, words = nodes[_HEAD:], rank[_HEAD:], words[:, _HEAD:]

    def _get_screen(self, nodes: Ids, key: int) -> Words:
        """`(2, n)` two of the nodes' words, none of which the key has a part in."""
        word = self.keys[key][0]
        return np.stack([self._words[(word + step) % _WORDS, nodes] for step in (1, 2)])

    def _may_be_near(self, left: Words, right: Words) -> npt.NDArray[np.bool_]:
        """Which pairs differ in at most `radius` bits in two words (all four could wrap uint8)."""
        counts = np.bitwise_count(left[0] ^ right[0])
        counts += np.bitwise_count(left[1] ^ right[1])
        return np.asarray(counts <= self._radius)

    def _link(self, a: Ids, b: Ids, key: int) -> None:
        """Verifies pairs of nodes until each is in one component or has no pair of rows left.

        In each round every component tries `most` pairs with lower ones: one does if they are
        the same picture, and a round later four times as many are tried if they are not.
        """
        a, b = self._pick_unsettled(a, b, key)
        tried, most = np.zeros(len(a), np.int64), 1
        while True:
            low, high = np.sort([self._find(a), self._find(b)], axis=0)
            order = np.lexsort((low, high))
            order = order[(low != high)[order] & (tried < self._size[a] * self._size[b])[order]]
            if not len(order):
                return
            a, b, tried, high = a[order], b[order], tried[order], high[order]
            rank = expand(np.diff(np.flatnonzero(_mark_starts(high)), append=len(high)))[1]
            untried = self._size[a] * self._size[b] - tried
            counts = np.where(rank < most, np.minimum(untried, most), 0)
            counts[np.cumsum(counts) > _BATCH] = 0
            self._try_rows(a, b, tried, counts)
            tried += counts
            most = min(most * 4, _BATCH)

    def _pick_unsettled(self, a: Ids, b: Ids, key: int) -> tuple[Ids, Ids]:
        """The pairs of nodes within the radius that are apart and that no earlier key brought."""
        near = count_differing(self._words, a, b) <= self._radius
        a, b = a[near], b[near]
        if not len(a):
            return a, b
        unsettled = self._find(a) != self._find(b)
        differing = self._words[:, a] ^ self._words[:, b]
        for word, mask in self.keys[:key]:
            unsettled &= (differing[word] & mask) != 0
        return a[unsettled], b[unsettled]

    def _try_rows(self, a: Ids, b: Ids, tried: Ids, counts: Ids) -> None:
        """Verifies the next `counts` pairs of rows of each pair of nodes."""
        pair, step = expand(counts)
        a, b, step = a[pair], b[pair], step + tried[pair]
        first = self._rows[self._begin[a] + step // self._size[b]]
        second = self._rows[self._begin[b] + step % self._size[b]]
        alike = self._verify(first, second)
        self._join(a[alike], b[alike])

    def _verify(self, first: Ids, second: Ids) -> npt.NDArray[np.bool_]:
        alike = self._confirm(first, second)
        if alike.any():
            self.links.append(np.stack([first[alike], second[alike]], axis=1))
        return alike

    def _join(self, a: Ids, b: Ids) -> None:
        roots, at = np.unique(np.stack([self._find(a), self._find(b)]), return_inverse=True)
        at = at.reshape(2, -1)
        graph = coo_array((np.ones(len(a), bool), (at[0], at[1])), shape=(len(roots), len(roots)))
        _, part = connected_components(graph, directed=False)
        _, lowest = np.unique(part, return_index=True)
        self._parent[roots] = roots[lowest[part]]

    def _find(self, nodes: Ids) -> Ids:
        """The root of each node's component, which is its lowest node."""
        roots = self._parent[nodes]
        while not np.array_equal(above := self._parent[roots], roots):
            roots = above
        self._parent[nodes] = roots
        return np.asarray(roots)
