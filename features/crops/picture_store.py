"""Pictures in their own shape by `row_id`: squares out of the cache, or out of the files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.caching.shard_files import ShardFiles, ShardReader
from features.core.manifest import Ids, Manifest
from features.crops.picture_cache import PictureCache, decode_known
from features.crops.places import Corners, Sizes, cut_square
from features.errors import ImageProblem, ManifestError
from features.pixels.decoding import Pixels, fit_shape, limit_shape
from features.pixels.reading import order_reads
from features.pixels.store import ADVICE, FileChange, check_sample, keep_pixels, sample_blocks
from features.runtime.memory import count_workers
from features.settings.images import Images


class PictureStore(Protocol):
    """Pictures of one role, each `(h, w, 3)` uint8."""

    sizes: Sizes
    """`(n, 2)`: height and width; 0 for rows that cannot be read."""

    def select(self, row_ids: Ids) -> "PictureStore":
        """The pictures of `row_ids` as rows 0 … k - 1; cheap to send to another process."""
        ...

    def cut(self, row_ids: Ids, corners: Corners, out: Pixels) -> None:
        """Fills `out`, `(b, s, s, 3)`, with squares of the pictures of `row_ids`.

        Raises `ValueError` for rows that cannot be read.
        """
        ...


class RawPictures:
    """Decoded pictures, memory-mapped from shards."""

    def __init__(self, files: ShardFiles, places: Ids, sizes: Sizes) -> None:
        self._reader, self._places, self.sizes = ShardReader(files), places, sizes

    def __reduce__(self) -> tuple[object, ...]:
        return RawPictures, (self._reader.files, self._places, self.sizes)

    def select(self, row_ids: Ids) -> "RawPictures":
        """The pictures of `row_ids` as rows 0 … k - 1; cheap to send to another process."""
        return RawPictures(self._reader.files, self._places[row_ids], self.sizes[row_ids])

    def cut(self, row_ids: Ids, corners: Corners, out: Pixels) -> None:
        """Reads no more than the lines of each square; all of a picture that it reaches beyond."""
        places = self._places[row_ids]
        if (places < 0).any():
            raise ValueError("rows that cannot be read have no pixels")
        heights, widths = self.sizes[row_ids].astype(np.int64).T
        tops, side = corners[:, 0].astype(np.int64), out.shape[1]
        is_inside = (tops >= 0) & (tops <= heights - side)
        above, lines = np.where(is_inside, tops, 0), np.where(is_inside, side, heights)
        found = self._reader.read(places + above * widths * 3, lines * widths * 3)
        inner = corners.copy()
        inner[:, 0] -= above.astype(np.int32)
        for i, (content, width) in enumerate(zip(found, widths.tolist(), strict=True)):
            cut_square(content.reshape(-1, width, 3), inner[i], out[i])


@dataclass
class FilePictures:
    """Pictures decoded at each use, by threads on all cores; each once for all its squares."""

    root: Path
    paths: list[str]
    sha256s: list[str]
    sizes: Sizes
    images: Images
    longest: int | None
    """Their longest side; `None`: their own."""
    change: FileChange | None = None
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(count_workers()), repr=False
    )

    def __reduce__(self) -> tuple[object, ...]:
        values = (self.root, self.paths, self.sha256s, self.sizes, self.images, self.longest)
        return _open_alone, (*values, self.change)

    def select(self, row_ids: Ids) -> "FilePictures":
        """The pictures of `row_ids` as rows 0 … k - 1; cheap to send to another process."""
        paths, sha256s = ([values[i] for i in row_ids] for values in (self.paths, self.sha256s))
        values = (self.sizes[row_ids], self.images, self.longest, self.change, self._threads)
        return FilePictures(self.root, paths, sha256s, *values)

    def cut(self, row_ids: Ids, corners: Corners, out: Pixels) -> None:
        """Raises `ManifestError` for a file that has changed."""
        rows, places = np.unique(row_ids, return_inverse=True)

        def decode(number: int) -> None:
            picture = self._read(int(rows[number]))
            for i in np.flatnonzero(places == number):
                cut_square(picture, corners[i], out[i])

        for _ in self._threads.map(decode, range(len(rows))):
            pass

    def _read(self, row: int) -> Pixels:
        path = self.paths[row]
        if not self.sizes[row].all():
            raise ValueError("rows that cannot be read have no pixels")
        try:
            sha256 = self.sha256s[row]
            change = self.change and self.change.bind(sha256)
            return decode_known(self.root, path, sha256, self.images, self.longest, change)
        except ImageProblem as problem:
            raise ManifestError(path, [str(problem)], ADVICE) from None


def _open_alone(*values: object) -> FilePictures:
    """In one process of many, which decodes by itself."""
    return FilePictures(*values, ThreadPoolExecutor(1))  # type: ignore[arg-type, call-arg]


def open_pictures(
    manifest: Manifest, root: Path, images: Images, longest: int | None
) -> PictureStore:
    """The pictures of a manifest; decodes first what `images.store` keeps and is not there yet.

    `longest`: as of `PictureCache`. Raises `StaleArtifactError` where a sample of the files is not
    what the manifest says.
    """
    check_sample(manifest, root)
    sha256s = manifest.read("sha256")
    readable = manifest.readable
    sizes = measure_sizes(manifest, longest)
    needed = sizes.astype(np.int64).prod(axis=1) * 3
    with PictureCache(images, longest) as cache:
        places, blocks = cache.find_places(sha256s, needed)
        missing = _find_missing(sha256s, places, readable)
        if not keep_pixels(images, len(missing), int(needed[missing].sum())):
            names = manifest.read("path").tolist()
            return FilePictures(root, names, sha256s.tolist(), sizes, images, longest)
        if cache.drop_damaged(sample_blocks(blocks[blocks >= 0])):
            cache.drop_damaged()  # where one is, others may be
            places, _ = cache.find_places(sha256s, needed)
            missing = _find_missing(sha256s, places, readable)
        if len(missing):
            paths = manifest.read("path")
            missing = missing[order_reads(paths.iloc[missing].tolist())]
            wanted = pd.DataFrame({"path": paths, "sha256": sha256s}).iloc[missing]
            problems = cache.fill(root, wanted, needed[missing], f"decode {manifest.role}")
            if problems:
                raise ManifestError(f"{manifest.role} images", problems, ADVICE)
            places, _ = cache.find_places(sha256s, needed)
        return RawPictures(cache.pictures, places, sizes)


def open_changed_pictures(
    manifest: Manifest, root: Path, images: Images, longest: int | None, change: FileChange
) -> FilePictures:
    """The pictures of a manifest, each changed as a file before anything else."""
    paths, sha256s = (manifest.read(name).tolist() for name in ("path", "sha256"))
    sizes = measure_sizes(manifest, longest, change.longest)
    return FilePictures(root, paths, sha256s, sizes, images, longest, change)


def measure_sizes(manifest: Manifest, longest: int | None, most: int | None = None) -> Sizes:
    """`(n, 2)` height and width of each picture, upright; 0 for rows that cannot be read.

    `most`: the longest side that files are made smaller to first.
    """
    readable = manifest.readable
    sides = [manifest.read(name).to_numpy(np.int32) for name in ("height", "width")]
    sizes = np.where(readable[:, None], np.stack(sides, axis=1), 0)
    kinds, places = np.unique(sizes, axis=0, return_inverse=True)
    fitted = [
        fit_shape(*limit_shape(h, w, most), longest) if h else (0, 0) for h, w in kinds.tolist()
    ]
    return np.array(fitted, np.int32).reshape(-1, 2)[places.ravel()]


def _find_missing(sha256s: pd.Series, places: Ids, readable: npt.NDArray[np.bool_]) -> Ids:
    """One row of each content that is not there."""
    rows = np.flatnonzero(readable & (places < 0))
    return rows[~sha256s.iloc[rows].duplicated().to_numpy()]
