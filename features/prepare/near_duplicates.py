"""Near-duplicates: which pictures are the same one, saved again, resized or brightened a little.

Two pictures are linked if their perceptual hashes differ in at most `RADIUS` of 256 bits and
their thumbnails correlate by at least `CORRELATION`. The search is exact: its components are those
of the graph of all such pairs. Not found: copies that are mirrored, turned or cropped, and those of
symmetric drawings, half of whose coefficients are 0 but for rounding.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from features.core.manifest import Ids
from features.pixels.thumbnails import (
    BLOCK,
    HASH_BITS,
    STORED_SIDE,
    Hashes,
    Pixels,
    check_pixels,
)
from features.prepare.hamming import Verify, Words, count_differing, link_within, pack_words
from features.runtime.progress import track

RADIUS = 15
"""Bits that may differ. Photographs saved again, scaled or brightened by 10 % differ in 0 to 12;
of 2,781 faces and shoes the closest two different ones in 34."""
CUT_RADII = (7, 3)
"""Radii at which a giant component is searched again, until no part of it is giant."""
CORRELATION = 0.98
FLAT = 3.0
"""Grey levels: thumbnails of a smaller standard deviation are never linked here. The bits of their
hashes are noise, and below 2.0 rounding to whole levels alone keeps copies under 0.98."""
GIANT_SHARE, GIANT_ROWS = 0.005, 50
"""A component is giant above this share of all rows, and above this number of rows."""
Mask = npt.NDArray[np.bool_]
_PIXELS = STORED_SIDE**2
_ROWS = 2**20  # contrasts compared at a time


class ThumbnailReader(Protocol):
    """`thumbnails[rows]` gives `(k, 32, 32)` uint8 for `(k,)` int64: a memmap, or a reader."""

    def __getitem__(self, rows: Ids, /) -> Pixels: ...


@dataclass(frozen=True)
class Cut:
    """A giant component that was searched again at a smaller radius."""

    first_row: int
    """The component's lowest row: a picture to look at."""
    rows: int
    largest: int
    """Rows of its largest part afterwards."""
    radius: int
    """The smallest radius used, in bits."""


@dataclass(frozen=True)
class NearLinks:
    """Verified pairs of near-duplicates: the closest that span their components."""

    rows: Ids
    """`(m, 2)`, first < second, sorted."""
    distance: npt.NDArray[np.int16]
    """`(m,)` bits, 0 … `RADIUS`."""
    correlation: npt.NDArray[np.float32]
    """`(m,)`, `CORRELATION` … 1."""
    cuts: tuple[Cut, ...]
    """Largest first."""


NO_LINKS = NearLinks(
    np.empty((0, 2), np.int64), np.empty(0, np.int16), np.empty(0, np.float32), cuts=()
)


def link_near(
    hashes: Hashes,
    thumbnails: ThumbnailReader,
    title: str = "near-duplicates",
    scratch: Path | None = None,
    later: Mask | None = None,
) -> NearLinks:
    """Links the near-duplicates among n pictures.

    `hashes` is `(n, 32)` from `hash_thumbnails`, `thumbnails` gives those of `shrink_thumbnails`,
    which are read in blocks. Flat pictures are never linked. The components depend on neither the
    order of rows nor chance. A giant one, which may be a chain of look-alikes, is searched again
    at smaller radii and reported. Of millions of pictures most lies on the disk, in the folder
    `scratch`: 100 bytes each. Raises `ValueError` on another shape or type.

    `later` `(n,)` marks rows that must change nothing among the others: these are searched alone
    first, and the links between them span what they are without any other row.
    """
    n, late = len(hashes), np.zeros(len(hashes), bool) if later is None else later
    words = pack_words(hashes, scratch)
    pictures = _Pictures(thumbnails, n, title)
    sharp = pictures.find_sharp()
    early = sharp[~late[sharp]]
    found = _search(words, early, n - int(late.sum()), pictures.are_alike, title, scratch)
    links, cuts = _span(words, found.links, late), found.list_cuts()
    if late.any():
        parts = np.arange(n)
        parts[found.rows] = -1 - found.parts

        def are_alike(first: Ids, second: Ids) -> Mask:
            alike: Mask = parts[first] == parts[second]  # as the first search has found
            unknown = late[first] | late[second]
            alike[unknown] = pictures.are_alike(first[unknown], second[unknown])
            return alike

        more = _search(words, sharp, n, are_alike, f"{title}, later rows", scratch)
        new = more.links[late[more.links].any(axis=1)]
        links, cuts = (
            _span(words, np.concatenate([links, new]), late),
            (*cuts, *more.list_cuts(late)),
        )
    first, second = links.T
    return NearLinks(
        links,
        count_differing(words, first, second),
        pictures.correlate(first, second).astype(np.float32),
        tuple(sorted(cuts, key=lambda cut: (-cut.rows, cut.first_row))),
    )


@dataclass(frozen=True)
class _Components:
    """What a search found, with giant components cut."""

    links: Ids
    """`(m, 2)`, more than span the components."""
    rows: Ids
    """`(k,)`, linked ones, ascending; the others are of the same length."""
    whole: Ids
    """Components before any cut."""
    parts: Ids
    used: Ids
    """Radii, in bits."""

    def list_cuts(self, among: Mask | None = None) -> tuple[Cut, ...]:
        """What became of components that were searched again, if any of `among` `(n,)` is there."""
        cuts = []
        for component in np.unique(self.whole[self.used < RADIUS]):
            of_it = np.flatnonzero(self.whole == component)
            if among is not None and not among[self.rows[of_it]].any():
                continue
            largest = np.unique(self.parts[of_it], return_counts=True)[1].max()
            first_row, radius = int(self.rows[of_it[0]]), int(self.used[of_it].min())
            cuts.append(Cut(first_row, len(of_it), int(largest), radius))
        return tuple(cuts)


def _search(
    words: Words, among: Ids, count: int, verify: Verify, title: str, scratch: Path | None
) -> _Components:
    """Components of the rows `among`; `count` rows say from which size on one is giant."""
    links = link_within(words, among, RADIUS, verify, title, scratch)
    rows = np.unique(links)  # few of all: components are counted among these alone
    whole = parts = _label_rows(links, rows)
    used = np.full(len(rows), RADIUS)
    for radius in CUT_RADII:
        giant = np.bincount(parts)[parts] > max(GIANT_SHARE * count, GIANT_ROWS)
        if not giant.any():
            break
        used[giant] = radius
        again = link_within(words, rows[giant], radius, verify, title, scratch)
        links = np.concatenate([links[~np.isin(links[:, 0], rows[giant])], again])
        parts = _label_rows(links, rows)
    return _Components(links, rows, whole, parts, used)


def _label_rows(links: Ids, rows: Ids) -> Ids:
    """`(k,)` component numbers of `rows`, ascending, under `(m, 2)` links between them."""
    first, second = np.searchsorted(rows, links.T)
    graph = coo_array((np.ones(len(links), bool), (first, second)), shape=(len(rows), len(rows)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _span(words: Words, links: Ids, late: Mask) -> Ids:
    """The closest links that span the components, those without a `late` row first of all; in each
    the second row is higher."""
    first, second = np.sort(links, axis=1).T
    weights = count_differing(words, first, second) + 1.0  # no link has the weight 0
    weights += HASH_BITS * late[links].any(axis=1)
    rows = np.unique(links)
    places = tuple(np.searchsorted(rows, [first, second]))
    shape = (len(rows), len(rows))
    tree = minimum_spanning_tree(coo_array((weights, places), shape=shape)).tocoo()
    order = np.lexsort((tree.col, tree.row))
    return np.stack([rows[tree.row[order]], rows[tree.col[order]]], axis=1)


class _Pictures:
    """Correlation of thumbnails, read in blocks. Sums are of integers: the same in any order."""

    def __init__(self, thumbnails: ThumbnailReader, n: int, title: str) -> None:
        self._thumbnails = thumbnails
        self._totals, self._squares = (np.empty(n, np.int32) for _ in range(2))  # at most 1024·255²
        blocks = range(0, n, BLOCK)
        for begin in track(
            blocks, f"{title}, contrast", n, unit="images", size=lambda b: min(BLOCK, n - b)
        ):
            rows = np.arange(begin, min(begin + BLOCK, n))
            pixels = self._read(rows).astype(np.int32)
            self._totals[rows] = pixels.sum(axis=1)
            self._squares[rows] = np.einsum("ij,ij->i", pixels, pixels)

    def find_sharp(self) -> Ids:
        """Rows, ascending, of pictures that are not flat."""
        blocks = (slice(begin, begin + _ROWS) for begin in range(0, len(self._totals), _ROWS))
        sharp = [np.flatnonzero(self._measure(block) >= FLAT) + block.start for block in blocks]
        return np.concatenate([np.empty(0, np.int64), *sharp])

    def are_alike(self, first: Ids, second: Ids) -> Mask:
        """`(m,)` mask of pairs that correlate enough."""
        return self.correlate(first, second) >= CORRELATION

    def correlate(self, first: Ids, second: Ids) -> npt.NDArray[np.float64]:
        """`(m,)` Pearson correlations of pictures that are not flat."""
        found = np.empty(len(first))
        for begin in range(0, len(first), BLOCK):
            block = slice(begin, begin + BLOCK)
            pair = np.stack([first[block], second[block]])
            rows, at = np.unique(pair, return_inverse=True)
            left, right = self._read(rows)[at.reshape(pair.shape)].astype(np.int32)
            products = np.einsum("ij,ij->i", left, right).astype(np.int64)
            totals = self._totals[pair].astype(np.int64)
            covariance = products / _PIXELS - totals.prod(axis=0) / _PIXELS**2
            found[block] = covariance / self._measure(pair).prod(axis=0)
        return found

    def _measure(self, rows: Ids | slice) -> npt.NDArray[np.float64]:
        """Standard deviations in grey levels."""
        totals, squares = (sums[rows].astype(np.int64) for sums in (self._totals, self._squares))
        return np.asarray(np.sqrt(_PIXELS * squares - totals**2) / _PIXELS)

    def _read(self, rows: Ids) -> Pixels:
        pixels = self._thumbnails[rows]
        check_pixels(pixels, STORED_SIDE)
        return pixels.reshape(len(rows), _PIXELS)
