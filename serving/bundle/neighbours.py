"""Which pictures of train travel along for evidence sheets, and what of them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from features.artifacts.dumps import Dump
from features.core.files import write_atomic
from features.core.manifest import Ids, Manifest
from features.errors import BundleError
from features.pixels.decoding import decode_pixels
from features.pixels.kernels import PLAIN
from features.pixels.opening import open_image
from features.settings.images import NO_LIMITS
from features.splits.names import hash_names
from serving.bundle.checking import read_row_files
from serving.format.neighbours import (
    NEIGHBOURS,
    NeighbourFacts,
    NeighbourPicture,
    Neighbours,
    write_neighbours,
)
from stage2_ensemble.columns.columns import Labels
from stage2_ensemble.columns.memory_map import copy_rows
from stage2_ensemble.decisions.conformal import FAKE, REAL
from stage2_ensemble.gallery.neighbours import Embeddings, find_neighbours

SIDE, QUALITY = 128, 70
"""Longest side of a thumbnail in pixels, and how good its WebP is: about 3 KB."""
LEAST = 2
"""Of each class: how near pictures of a class usually are takes two."""


def choose_neighbour_rows(train: Manifest, fold: int, count: int) -> Ids:
    """Rows that the members of `fold` did not learn from, `count` / 2 of each class as far as there
    are, no two of a class from one group. Always the same ones, and blind to every score.

    Raises `BundleError` where a class has fewer than `LEAST`, unless `count` is 0.
    """
    if not count:
        return np.empty(0, np.int64)
    known = train.rows_to_dump(fold)
    hashes = hash_names(train.read("img_name").iloc[known], 0, NEIGHBOURS)
    drawn = known[np.argsort(hashes, kind="stable")]
    chosen = []
    for label in (0, 1):
        own = drawn[train.labels[drawn] == label]
        _, first = np.unique(train.groups[own], return_index=True)
        chosen.append(own[np.sort(first)][: count // 2])
    if min(map(len, chosen)) < LEAST:
        reals, fakes = map(len, chosen)
        problem = f"{reals} reals and {fakes} fakes could travel along, {LEAST} of each are needed"
        raise BundleError("--neighbours", [problem], "Ask for more, or for none: 0.")
    return np.sort(np.concatenate(chosen))


def bundle_neighbours(
    train: Manifest, rows: Ids, dumps: Sequence[Dump], root: Path, folder: Path
) -> None:
    """Writes these rows of `train`; `dumps`: of members of one fold.

    Raises `ManifestError` for files that are no longer what they were.
    """
    (folder / NEIGHBOURS).mkdir()
    places = np.searchsorted(dumps[0].row_ids, rows)
    embeddings = tuple(copy_rows(dump.embeddings, places) for dump in dumps)
    names, labels = train.read("img_name").iloc[rows], train.labels[rows]
    pictures = [
        NeighbourPicture(
            name=name, label=FAKE if label else REAL, file=f"{NEIGHBOURS}/{number}.webp"
        )
        for number, (name, label) in enumerate(zip(names, labels, strict=True))
    ]
    thumbnails = read_row_files(train, train.read("path").iloc[rows], root, _shrink)
    for picture, thumbnail in zip(pictures, thumbnails, strict=True):
        with write_atomic(folder / picture.file) as target:
            target.write(thumbnail)
    facts = NeighbourFacts(
        fold=dumps[0].member.fold,
        backbones=tuple(dump.member.backbone for dump in dumps),
        usual=measure_usual(embeddings, labels),
        pictures=tuple(pictures),
    )
    write_neighbours(folder, Neighbours(facts, embeddings))


def measure_usual(embeddings: Embeddings, labels: Labels) -> dict[str, tuple[float, float]]:
    """By class the quartiles of the similarity of its pictures to the nearest other one."""
    count = len(labels)
    places, similarities = find_neighbours(embeddings, embeddings, count)
    is_other = places != np.arange(count)[:, None]
    usual = {}
    for label, name in ((0, REAL), (1, FAKE)):
        own = labels == label
        nearest = np.argmax(is_other[own] & (labels[places[own]] == label), axis=1)
        low, high = np.quantile(similarities[own, nearest], [0.25, 0.75]).tolist()
        usual[name] = (low, high)
    return usual


def _shrink(content: bytearray) -> bytes:
    """The whole picture, in its own shape, as a small WebP. Raises `ImageProblem`."""
    image = Image.fromarray(decode_pixels(content, open_image(content, NO_LIMITS), PLAIN).pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()
