"""What the members of one fold say about some rows, and which of it may be fitted on.

Detectors from outside come after the networks. They lack scores of some rows: NaN. A row that no
member has scored is in no columns.

Only `FoldColumns` carry labels that a model may learn from. Columns of val and test have none, so
nothing can be fitted or chosen on them.

    extras = read_extras(Path("artifacts/forensics"), val)
    columns = read_held_out(dumps, val, ["resnet"], [0], train.digest, extras)
    columns[0].logits                                # (n, backbones)
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from features.artifacts.dumps import Dump, read_dump
from features.artifacts.outside import read_outside
from features.core.manifest import Ids, Manifest
from features.errors import LeakageError, ManifestError
from features.splits.groups import draw_half
from stage2_ensemble.columns.dask_arrays import spread_rows
from stage2_ensemble.columns.extras import Extras
from stage2_ensemble.columns.memory_map import copy_rows

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]
InnerFolds = npt.NDArray[np.int16]
OutsideFolders = Mapping[str, Path]
"""Of members from outside the folders of their scores, by name."""
NO_FOLDERS: OutsideFolders = {}
_log = logging.getLogger("forgerystack")


@dataclass(frozen=True, kw_only=True)
class MemberColumns:
    """Members (·, fold) on `n` rows: corrected logits `(n, b)` and an embedding per member.

    A detector from outside has NaN where it scored nothing, and may have embeddings of width 0.
    """

    fold: int
    backbones: tuple[str, ...]
    row_ids: Ids
    logits: Floats
    embeddings: tuple[npt.NDArray[np.float16], ...]
    digests: tuple[str, ...] = ()
    """sha256 of each backbone's member: which network it was."""
    encoders: tuple[str, ...] = ()
    """As of `MemberId`, of each backbone; empty where all are trained."""
    extras: npt.NDArray[np.float32] | None = None
    """`(n, f)`: what is known of the pictures besides: `stage2_ensemble.columns.extras`."""
    extra_names: tuple[str, ...] = ()
    crop_logits: tuple[Floats | None, ...] = ()
    """Of each backbone that scores several crops of a picture `(n, 2)`: the highest of their
    corrected log-odds, and the standard deviation; empty where none does."""

    def __len__(self) -> int:
        return len(self.row_ids)

    def take(self, positions: Ids | Mask | slice) -> Self:
        """The rows at these positions."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if hasattr(value, "shape"):  # of numpy or Dask
                values[name] = value[positions]
        values["embeddings"] = tuple(array[positions] for array in self.embeddings)
        values["crop_logits"] = tuple(
            None if array is None else array[positions] for array in self.crop_logits
        )
        return type(self)(**values)

    def without(self, backbone: str) -> Self:
        """The same rows, but for what this backbone says."""
        names = list(self.backbones)
        names.remove(backbone)
        return self.keep(names)

    def keep(self, names: Iterable[str]) -> Self:
        """The same rows, and what these members say of them."""
        kept = [self.backbones.index(name) for name in names]
        return replace(
            self,
            backbones=tuple(self.backbones[i] for i in kept),
            logits=self.logits[:, kept],
            embeddings=tuple(self.embeddings[i] for i in kept if self.embeddings),
            digests=tuple(self.digests[i] for i in kept if self.digests),
            encoders=tuple(self.encoders[i] for i in kept if self.encoders),
            crop_logits=tuple(self.crop_logits[i] for i in kept if self.crop_logits),
        )


@dataclass(frozen=True, kw_only=True)
class FoldColumns(MemberColumns):
    """Rows of `fold`, which its members did not learn from: what second-stage models learn from.

    Of detectors from outside that is what was said of them.
    """

    labels: Labels
    weights: Floats
    groups: Ids
    domains: npt.NDArray[np.object_] | None = None
    """`(n,)`: the generator of each fake, empty where none is known."""
    sources: npt.NDArray[np.object_] | None = None
    """`(n,)`: where each row, real or fake, comes from, empty where that is not known."""
    tuning: Mask | None = None
    """`(n,)`: rows that settings may be tuned on: `stage2_ensemble.columns.tuning_half`."""


@dataclass(frozen=True, kw_only=True)
class CalibrationColumns(MemberColumns):
    """Rows that no model learns from: probabilities and thresholds are."""

    labels: Labels
    weights: Floats
    groups: Ids


@dataclass(frozen=True, kw_only=True)
class HeldOutColumns(MemberColumns):
    """Val or test rows, without labels."""


def check_fittable(columns: MemberColumns) -> None:
    """Raises `LeakageError` for columns that nothing may be fitted on."""
    if not isinstance(columns, FoldColumns):
        raise LeakageError(f"a model would be fitted on {type(columns).__name__}", columns.row_ids)


def count_inner_folds(folds: Sequence[FoldColumns], wanted: int) -> int:
    """Inner folds, at most `wanted`, with groups of both classes, that all folds can be cut into.

    0 or 1: it cannot be cut.
    """
    for columns in folds:
        check_fittable(columns)
    counts = [
        len(np.unique(columns.groups[columns.labels == label]))
        for columns in folds
        for label in (0, 1)
    ]
    return min(wanted, *counts)


def read_dumps(
    folder: Path,
    manifest: Manifest,
    names: Sequence[str],
    fold: int,
    train_digest: str,
    outside: OutsideFolders = NO_FOLDERS,
) -> list[Dump]:
    """What members (·, fold) say of the manifest's role, in the order of `names`.

    From `folder`, or from those of `outside`. Raises `StaleArtifactError` for members that learned
    from another train manifest than `train_digest`, or as `read_dump` and `read_outside`.
    """
    dumps = []
    for name in names:
        if name in outside:
            dumps.append(read_outside(outside[name], manifest).build_dump(manifest, fold))
        else:
            dumps.append(read_dump(folder / name / str(fold), manifest, name, fold))
            dumps[-1].member.check_train_digest(train_digest)
    return dumps


def _mark_scored(dumps: Sequence[Dump]) -> Mask:
    """`(n,)`: the rows that any of them has scored."""
    return np.asarray(~np.all([np.isnan(dump.logits) for dump in dumps], axis=0))


def _build_parts(
    dumps: Sequence[Dump], positions: Ids | slice, extras: Extras | None
) -> dict[str, object]:
    """Values of the common fields; with a slice the embeddings stay memory-mapped."""
    parts: dict[str, object] = {}
    of_crops = [dump.corrected_crop_logits for dump in dumps]
    embeddings = [dump.embeddings for dump in dumps]
    if isinstance(positions, slice):
        parts["embeddings"] = tuple(array[positions] for array in embeddings)
    else:
        parts["embeddings"] = tuple(copy_rows(array, positions) for array in embeddings)
    if extras is not None:
        parts["extras"] = extras.take(dumps[0].row_ids[positions])
        parts["extra_names"] = extras.names
    return parts | {
        "fold": dumps[0].member.fold,
        "backbones": tuple(dump.member.backbone for dump in dumps),
        "row_ids": dumps[0].row_ids[positions],
        "logits": np.stack([dump.corrected_logits[positions] for dump in dumps], axis=1),
        "digests": tuple(dump.member.digest for dump in dumps),
        "encoders": tuple(dump.member.encoder for dump in dumps),
        "crop_logits": gather_crop_logits(of_crops, positions),
    }


def gather_crop_logits(
    found: Sequence[Floats | None], positions: Ids | slice = slice(None)
) -> tuple[Floats | None, ...]:
    """Those rows of each member's, as `MemberColumns` has them."""
    if all(array is None for array in found):
        return ()
    return tuple(None if array is None else array[positions] for array in found)


def build_fold_columns(
    dumps: Sequence[Dump], train: Manifest, extras: Extras | None = None
) -> tuple[FoldColumns, CalibrationColumns]:
    """The fold rows and the calibration rows of train dumps that belong to one fold.

    Rows that no member has scored are left out.
    """
    fold = dumps[0].member.fold
    row_ids, is_scored = dumps[0].row_ids, _mark_scored(dumps)
    inside = np.flatnonzero(np.isin(row_ids, train.fold_rows(fold)) & is_scored)
    spared = np.flatnonzero(np.isin(row_ids, train.calibration_rows()) & is_scored)
    if left_out := int(np.sum(~is_scored)):
        _log.info("fold %d: %d rows of train that no detector scored: left out", fold, left_out)
    rows = row_ids[inside]
    fold_columns = FoldColumns(
        **_build_parts(dumps, inside, extras),  # type: ignore[arg-type]
        labels=train.labels[rows],
        weights=train.weights[rows],
        groups=train.groups[rows],
        domains=train.read("generator").iloc[rows].to_numpy(object),
        sources=train.read("source").iloc[rows].to_numpy(object),
        tuning=draw_half(train.groups[rows], train.read("img_name").iloc[rows], "tuning half"),
    )
    rows = row_ids[spared]
    calibration_columns = CalibrationColumns(
        **_build_parts(dumps, spared, extras),  # type: ignore[arg-type]
        labels=train.labels[rows],
        weights=train.weights[rows],
        groups=train.groups[rows],
    )
    return fold_columns, calibration_columns


def read_train_columns(
    folder: Path,
    train: Manifest,
    names: Sequence[str],
    folds: Sequence[int],
    extras: Extras | None = None,
    outside: OutsideFolders = NO_FOLDERS,
    far: bool = False,
) -> list[tuple[FoldColumns, CalibrationColumns]]:
    """Fold rows and calibration rows of each active fold; `far`: Dask reads what is large."""
    dumps = (read_dumps(folder, train, names, k, train.digest, outside) for k in folds)
    if far:
        dumps = ([_spread(dump) for dump in own] for own in dumps)
        extras = extras and replace(extras, values=spread_rows(extras.values))
    return [build_fold_columns(own, train, extras) for own in dumps]


def _spread(dump: Dump) -> Dump:
    return replace(dump, embeddings=spread_rows(dump.embeddings))


def read_held_out(
    folder: Path,
    manifest: Manifest,
    names: Sequence[str],
    folds: Sequence[int],
    train_digest: str,
    extras: Extras | None = None,
    outside: OutsideFolders = NO_FOLDERS,
) -> list[HeldOutColumns]:
    """Columns of val or test, one per active fold, all on the same rows.

    Those of test lack rows that no member has scored; of val that raises `ManifestError`: figures
    must stand on all of it.
    """
    if manifest.role == "train":
        raise ValueError("train rows are read by build_fold_columns")
    columns = []
    for fold in folds:
        dumps = read_dumps(folder, manifest, names, fold, train_digest, outside)
        is_scored = _mark_scored(dumps)
        if manifest.role == "val":
            _check_all_scored(dumps[0].row_ids[~is_scored], manifest)
        positions = slice(None) if is_scored.all() else np.flatnonzero(is_scored)
        columns.append(HeldOutColumns(**_build_parts(dumps, positions, extras)))  # type: ignore[arg-type]
    return columns


def _check_all_scored(lacking: Ids, val: Manifest) -> None:
    if len(lacking):
        problems = [f"{n!r} has no score" for n in val.read("img_name").iloc[lacking]]
        advice = "Score them, a probability of 0.5 if need be, or take them out of the list of val."
        raise ManifestError("val, on which all is measured", problems, advice)
