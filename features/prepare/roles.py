"""Which row plays which role: val carved out, held out or blended, folds and calibration rows."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.manifest import (
    HELD_OUT,
    NO_FOLD,
    ROLES,
    SEEN,
    UNSEEN,
    Role,
    count_classes,
)
from features.errors import SHOWN, ManifestError
from features.settings.data import PrepareParams
from features.splits.folds import assign_folds, draw_calibration
from features.splits.groups import build_groups, draw_whole_groups

_log = logging.getLogger("forgerystack")
Mask = npt.NDArray[np.bool_]


def find_held(rows: pd.DataFrame, wanted: Mapping[str, tuple[str, ...]]) -> Mask:
    """`(n,)`: train rows with one of the wanted values."""
    held = np.zeros(len(rows), bool)
    train = (rows["role"] == "train").to_numpy()
    for column, values in wanted.items():
        held |= train & rows[f"hold:{column}"].isin(values).to_numpy()
    return held


def check_hold_out(rows: pd.DataFrame, hold_out: Mapping[str, Sequence[str]]) -> None:
    """Raises `ManifestError` with each value to hold out that no row has."""
    problems = []
    for column, values in hold_out.items():
        known = pd.Series(rows[f"hold:{column}"].unique()).sort_values()
        shown = ", ".join(repr(value) for value in known.head(SHOWN))
        listed = f"{shown}{' …' if len(known) > SHOWN else ''} ({len(known)} values)"
        for value in values:
            if not (known == value).any():
                problems.append(f"split.hold_out.{column}: no row has {value!r}; known: {listed}")
    if problems:
        raise ManifestError("train", problems)


def hold_out_domains(rows: pd.DataFrame, wanted: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """`rows` with `domain`; train rows with one of the wanted values become `held_out` val rows."""
    held = find_held(rows, wanted)
    return rows.assign(role=rows["role"].mask(held, "val"), domain=np.where(held, HELD_OUT, ""))


def settle_val(rows: pd.DataFrame, params: PrepareParams) -> pd.DataFrame:
    """`rows` with `domain`; rows are held out of train, or with `data.final` val joins train."""
    if params.data.final:
        return rows.assign(role=rows["role"].replace("val", "train"), domain="")
    return hold_out_domains(rows, params.split.hold_out)


def split_roles(rows: pd.DataFrame, params: PrepareParams) -> dict[Role, pd.DataFrame]:
    """Rows of train, val and test with `fold` and `domain`, moved between roles as params say.

    `rows` hold `role`, `group`, `unit`, `domain`, `label`, `override`, `corrected`, `confirmed`,
    `img_name`, `generator`. They are copied once: until all is decided, a role is a mask. Folds are
    dealt out by corrected labels, and train gets them. Val is drawn by those of the lists and keeps
    them: it has the same rows with and without overrides. Test rows of a unit, or of one file that
    the list spells in two ways, share a group.
    """
    train, val, test = ((rows["role"] == role).to_numpy(bool) for role in ROLES)
    if params.data.val is None and not params.data.final:
        carved = _draw_share(rows, train, params.split.val_fraction, params.seed, "val")
        _check_carved(rows, carved)
        train, val = train & ~carved, val | carved
    moved = _draw_blend(rows, train, val, params)
    folds = np.full(len(rows), NO_FOLD, np.int16)
    folds[train] = _assign_folds(rows, train, params)
    if moved.any():  # they become the active fold; train rows of that fold join the next one
        active = params.folds.active[0]
        folds[folds == active] = (active + 1) % params.folds.count
        folds[moved] = active
        train, val = train | moved, val & ~moved
    rows = rows.assign(fold=folds)
    learned, kept = _learn_corrected(rows[train]), _keep_confirmed(rows[val])
    return {
        "train": learned.assign(domain=""),
        "val": kept.assign(domain=_name_domains(kept, learned["generator"])),
        "test": rows[test].assign(domain="", group=build_groups(rows[["unit", "path"]][test])),
    }


def _learn_corrected(train: pd.DataFrame) -> pd.DataFrame:
    """Train rows with corrected labels; what turned out real has no generator."""
    generator = train["generator"].mask(train["override"] == 0, "")
    return train.assign(label=train["corrected"], generator=generator)


def _keep_confirmed(val: pd.DataFrame) -> pd.DataFrame:
    """Val rows; where the label of the list was confirmed, it is the override, too."""
    return val.assign(override=val["override"].mask(val["confirmed"], val["label"]))


def _name_domains(val: pd.DataFrame, generators: pd.Series) -> npt.NDArray[np.object_]:
    """Of the val rows: held out, or whether train, of these `generators`, has the same one."""
    known = val["generator"].isin({"", *generators.unique()}).to_numpy()
    held = (val["domain"] == HELD_OUT).to_numpy()
    return np.where(held, HELD_OUT, np.where(known, SEEN, UNSEEN)).astype(object)


def _draw_share(rows: pd.DataFrame, free: Mask, share: float, seed: int, why: str) -> Mask:
    """`(n,)`: a share of the `free` rows, by group."""
    found = rows[["label", "group", "img_name"]][free]
    labels, groups = found["label"].to_numpy(), found["group"].to_numpy()
    reals, fakes = count_classes(labels)
    wanted = (round(share * reals), round(share * fakes))
    drawn = free.copy()
    drawn[free] = draw_whole_groups(labels, groups, found["img_name"], wanted, seed, why)
    return drawn


def _check_carved(rows: pd.DataFrame, held: Mask) -> None:
    reals, fakes = count_classes(rows["label"][held])
    if not reals or not fakes:
        problem = f"{reals} reals and {fakes} fakes were carved out of train, but both are needed"
        raise ManifestError("val", [problem], "Raise split.val_fraction, or name data.val.")


def _draw_blend(rows: pd.DataFrame, train: Mask, val: Mask, params: PrepareParams) -> Mask:
    """Val rows to move into the active fold: only groups that no train row belongs to."""
    share = params.split.blend_from_val
    if not share or params.data.final:
        return np.zeros(len(rows), bool)
    stays = train | (val & (rows["domain"] == HELD_OUT).to_numpy(bool))
    free = val & ~rows["group"].isin(rows["group"][stays]).to_numpy()
    moved = _draw_share(rows, free, share, params.seed, "blend")
    if not moved.any():
        _log.warning("prepare: split.blend_from_val found no val group that train has not")
    return moved


def _assign_folds(rows: pd.DataFrame, train: Mask, params: PrepareParams) -> npt.NDArray[np.int16]:
    """Folds of the train rows; `NO_FOLD` for those that are spared for calibration."""
    found = rows[["corrected", "group", "img_name"]][train]
    labels, groups = found["corrected"].to_numpy(), found["group"].to_numpy()
    names = found["img_name"]
    folds = assign_folds(labels, groups, names, params.folds.count, params.seed)
    if len(params.folds.active) > 1:
        share, least = params.folds.calibration, params.folds.calibration_min
        folds[draw_calibration(labels, groups, names, share, least, params.seed)] = NO_FOLD
    return folds
