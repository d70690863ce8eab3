"""The manifest: one table of rows per role, and who may learn from which row.

Written once by `prepare`. `row_id` (dense within its role) with the role is the only join key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.files import write_atomic
from features.core.manifest_columns import ColumnReader, StoredColumns, digest_columns, list_columns
from features.errors import ConfigError, IntegrityError, LeakageError, MissingArtifactError

if TYPE_CHECKING:
    import pyarrow as pa

Role = Literal["train", "val", "test"]
ROLES: tuple[Role, ...] = ("train", "val", "test")
Ids = npt.NDArray[np.int64]
NO_LABEL = -1
"""Label of test rows."""
NO_OVERRIDE = -1
"""`override` of rows whose label nobody looked at."""
NO_FOLD = -1
"""Fold of val and test rows, and of calibration rows: no member learns from them."""
READABLE = "ok"
SUMS = "prepare.sums.json"
"""Seals what `prepare` writes beside manifests, which hold digests of their own."""
SEEN, UNSEEN, HELD_OUT = "seen", "unseen", "held_out"
"""`domain` of val rows: train has rows of this generator; it has none; `split.hold_out` moved them
from train to val. Rows without a generator are `seen`; other roles have no domain."""
SCHEMA: Mapping[str, str] = {
    "row_id": "int64",
    "img_name": "string",
    "path": "string",
    "label": "int8",
    "override": "int8",
    "weight": "double",
    "draw_weight": "double",
    "fold": "int16",
    "group": "int64",
    "generator": "string",
    "source": "string",
    "unit": "string",
    "domain": "string",
    "width": "int32",
    "height": "int32",
    "bytes": "int64",
    "format": "string",
    "mode": "string",
    "exif": "bool",
    "subsampling": "int8",
    "quant_tables": "string",
    "quant_mean": "double",
    "equalized_bytes": "int64",
    "notes": "string",
    "face": "string",
    "sha256": "string",
    "status": "string",
}
"""Columns, and their types as Arrow names them."""
TEXT = "string"
ROW_GROUP = 1 << 20
"""Rows that are written, and cells that are read together."""
_DIGEST_KEY, _ROLE_KEY = b"forgerystack.digest", b"forgerystack.role"


@dataclass(frozen=True)
class LearnRows:
    """Rows that member (·, fold) learns from. Made only by `Manifest.rows_to_learn`."""

    fold: int
    row_ids: Ids
    manifest_digest: str


@dataclass(frozen=True)
class Manifest:
    """The rows of one role, in the order of `row_id` 0 … n-1.

    Columns as in `SCHEMA`: `path` is relative to the data root, `label` 0 real, 1 fake, -1 none,
    `override` -1, or what `data.label_overrides` says: of val rows the corrected label beside the
    original one, or the same where it was confirmed; of train rows `label` itself, where the list
    says the other one.
    `sha256` is that of the file, or where there are no pictures of the `path`.
    `fold` -1 for rows that no member learns from, `generator` what made a fake, `source` where a
    row comes from (both empty: unknown), `unit` the video, person … that a row is a part of (empty:
    none), `status` `ok` or why the image cannot be read.
    File facts: `mode` as Pillow names it, `exif` if there is such a block, `subsampling` of a JPEG
    (0 4:4:4, 1 4:2:2, 2 4:2:0, -1 else), `quant_tables` a short digest of its quantisation tables,
    `quant_mean` the mean of the luminance table (0 else), `equalized_bytes` of the re-encoded image
    (0 without `images.equalize`), `notes` words such as `animated`, joined by `;`.
    `face` is where the face is in the row's picture, `0.2,0.1,0.6,0.7`: left, top, width and height
    as shares of its sides (empty: none was looked for, or found).

    Of more rows than `ROW_GROUP`, columns are read from the file as they are asked for, and only
    those of numbers kept; `table` is all of them, 330 bytes a row.
    """

    role: Role
    source: pd.DataFrame | ColumnReader
    digest: str

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def table(self) -> pd.DataFrame:
        """All columns."""
        if isinstance(self.source, pd.DataFrame):
            return self.source
        return pd.DataFrame({name: self.read(name) for name in SCHEMA}, copy=False)

    def read(self, name: str, block: slice = slice(None)) -> pd.Series:
        """One column, or a block of it."""
        return list_columns(self.source).read(name, block)

    @cached_property
    def labels(self) -> npt.NDArray[np.int8]:
        """`(n,)`, 0 real, 1 fake, -1 none."""
        return self.read("label").to_numpy(np.int8)

    @cached_property
    def overrides(self) -> npt.NDArray[np.int8]:
        """`(n,)`, 0 real, 1 fake, -1 none."""
        return self.read("override").to_numpy(np.int8)

    @cached_property
    def weights(self) -> npt.NDArray[np.float64]:
        """`(n,)`, positive."""
        return self.read("weight").to_numpy(np.float64)

    @cached_property
    def draw_weights(self) -> npt.NDArray[np.float64]:
        """`(n,)`, positive: how often a member draws each row under `sampling.mode: weighted`."""
        return self.read("draw_weight").to_numpy(np.float64)

    @cached_property
    def folds(self) -> npt.NDArray[np.int16]:
        """`(n,)`, -1 where no member learns from the row."""
        return self.read("fold").to_numpy(np.int16)

    @cached_property
    def groups(self) -> Ids:
        """`(n,)`: rows that must stay together share a number."""
        return self.read("group").to_numpy(np.int64)

    @cached_property
    def faces(self) -> npt.NDArray[np.float64]:
        """`(n, 4)` left, top, width and height as shares of the sides; NaN where there is none."""
        found = np.full((len(self), 4), np.nan)
        for row, text in enumerate(self.read("face")):
            if text:
                found[row] = [float(share) for share in text.split(",")]
        return found

    @cached_property
    def readable(self) -> npt.NDArray[np.bool_]:
        """`(n,)`: rows whose picture can be read."""
        return (self.read("status") == READABLE).to_numpy(bool)

    @cached_property
    def has_pictures(self) -> bool:
        """Whether any row has one."""
        return bool((self.read("width") > 0).any())

    @cached_property
    def has_units(self) -> bool:
        """Whether any row is a part of a unit."""
        return bool((self.read("unit") != "").any())

    @cached_property
    def units(self) -> Ids:
        """`(n,)`: rows of a unit share a number; a row without one is a unit of its own."""
        names = self.read("unit")
        numbers = pd.factorize(names)[0].astype(np.int64)
        alone = (names == "").to_numpy(bool)
        numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(alone.sum())
        return numbers

    def rows_to_learn(self, fold: int) -> LearnRows:
        """Train rows of all folds but `fold`, without the calibration rows.

        Raises `ConfigError` for a fold that no row belongs to.
        """
        self._check_role("train")
        if fold < 0 or not (self.folds == fold).any():
            known = sorted({int(f) for f in self.folds} - {NO_FOLD})
            raise ConfigError("--fold", [f"there is no fold {fold} in train; folds: {known}"])
        keep = (self.folds != fold) & (self.folds != NO_FOLD)
        return LearnRows(fold, np.flatnonzero(keep).astype(np.int64), self.digest)

    def rows_to_dump(self, fold: int) -> Ids:
        """Rows that member (·, fold) is asked about: none of them did it learn from.

        Train: fold `fold` and the calibration rows. Val and test: every readable row.
        """
        if self.role != "train":
            return np.flatnonzero(self.readable).astype(np.int64)
        return np.flatnonzero((self.folds == fold) | (self.folds == NO_FOLD)).astype(np.int64)

    def fold_rows(self, fold: int) -> Ids:
        """Train rows of `fold`: what stacker `fold` is fitted on."""
        self._check_role("train")
        return np.flatnonzero(self.folds == fold).astype(np.int64)

    def calibration_rows(self) -> Ids:
        """Train rows that neither members nor stackers learn from."""
        self._check_role("train")
        return np.flatnonzero(self.folds == NO_FOLD).astype(np.int64)

    def check_not_learned(self, row_ids: Ids, fold: int) -> None:
        """Raises `LeakageError` if member (·, fold) learned from any of these rows."""
        if self.role != "train":
            return
        learned = np.intersect1d(row_ids, self.rows_to_learn(fold).row_ids)
        if len(learned):
            raise LeakageError(f"a member of fold {fold} scores rows that it learned from", learned)

    def _check_role(self, role: Role) -> None:
        if self.role != role:
            raise ValueError(f"only the {role} manifest has this, not {self.role}")


def digest_table(table: pd.DataFrame | ColumnReader) -> str:
    """sha256 over the contents of all columns of `SCHEMA`; independent of the file format."""
    return digest_columns(list_columns(table), SCHEMA, ROW_GROUP)


def write_manifest(table: pd.DataFrame | ColumnReader, role: Role, path: Path) -> Manifest:
    """Writes the rows of one role, block by block; `row_id` must be 0 … n-1."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # late: labelling with a bundle does without

    columns = list_columns(table)
    if not np.array_equal(columns.read("row_id"), np.arange(len(columns))):
        raise ValueError("row_id must be 0 … n-1, in order")
    digest = digest_table(columns)
    metadata = {_DIGEST_KEY: digest.encode(), _ROLE_KEY: role.encode()}
    plain = _build_schema()
    schema = plain.with_metadata(metadata)
    with write_atomic(path) as file, pq.ParquetWriter(file, schema) as parquet:
        for start in range(0, len(columns), ROW_GROUP):
            block = slice(start, start + ROW_GROUP)
            rows = pd.DataFrame({name: columns.read(name, block).array for name in SCHEMA})
            parquet.write_table(pa.Table.from_pandas(rows, schema=plain, preserve_index=False))
    return Manifest(role, table, digest)


def read_manifest(folder: Path, role: Role) -> Manifest:
    """Opens `<folder>/<role>.parquet` and checks its digest.

    Raises `MissingArtifactError`, `IntegrityError`.
    """
    import pyarrow as pa

    path = folder / f"{role}.parquet"
    if not path.is_file():
        raise MissingArtifactError(path, "prepare")
    advice = "Make it again: dvc repro -f prepare"
    try:
        stored = StoredColumns(path)
        metadata = stored.schema.metadata or {}
        if stored.schema.remove_metadata() != _build_schema():
            raise IntegrityError(path, "its columns are others", advice)
        source = stored if len(stored) > ROW_GROUP else stored.read_all()
        digest = digest_table(source)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is no UTF-8
        raise IntegrityError(path, f"no valid parquet ({error})", advice) from error
    if metadata.get(_ROLE_KEY) != role.encode():
        raise IntegrityError(path, f"it does not hold the rows of {role}", advice)
    if metadata.get(_DIGEST_KEY) != digest.encode():
        raise IntegrityError(path, "its digest does not match its rows", advice)
    return Manifest(role, source, digest)


def _build_schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in SCHEMA.items()])


def count_classes(labels: npt.ArrayLike) -> tuple[int, int]:
    """Numbers of reals and of fakes."""
    values = np.asarray(labels)
    return int((values == 0).sum()), int((values == 1).sum())


def find_headline_rows(val: Manifest) -> npt.NDArray[np.bool_]:
    """`(n,)`: the val rows that headline figures are measured on.

    Without those that `split.hold_out` moved there, so that figures with and without it compare.
    """
    return np.asarray(val.read("domain") != HELD_OUT, bool)
