"""Which row plays which role: val carved out, held out or blended, folds and calibration rows."""

import logging
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.errors import ManifestError
from features.manifest import HELD_OUT, NO_FOLD, ROLES, SEEN, UNSEEN, Role, count_classes
from features.prepare_params import Folds, PrepareParams
from features.splits import assign_folds, draw_calibration, draw_groups

_log = logging.getLogger("forgerystack")
Mask = npt.NDArray[np.bool_]


def hold_out(rows: pd.DataFrame, wanted: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    """`rows` with `domain`; train rows with one of the wanted values become `held_out` val rows."""
    held = np.zeros(len(rows), bool)
    train = (rows["role"] == "train").to_numpy()
    for column, values in wanted.items():
        held |= train & rows[f"hold:{column}"].isin(values).to_numpy()
    return rows.assign(role=rows["role"].mask(held, "val"), domain=np.where(held, HELD_OUT, ""))


def split_roles(rows: pd.DataFrame, params: PrepareParams) -> dict[Role, pd.DataFrame]:
    """Rows of train, val and test with `fold` and `domain`, moved between roles as params say.

    `rows` hold `role`, `group`, `domain`, `label`, `img_name`, `generator`.
    """
    parts = {role: rows[rows["role"] == role] for role in ROLES}
    train, val, test = parts["train"], parts["val"], parts["test"]
    if params.data.val is None:
        carved = _draw_share(train, params.split.val_fraction, params.seed, "val")
        _check_carved(train, carved)
        train, val = train[~carved], pd.concat([train[carved], val])
    moved = _draw_blend(train, val, params)
    train = _assign_train(train, params)
    if moved.any():
        train = _blend(train, val[moved], params.folds)
    val = val[~moved].assign(fold=NO_FOLD)
    val = val.assign(domain=_name_domains(val, train))
    test = test.assign(group=np.arange(len(test)), fold=NO_FOLD)
    return {"train": train.assign(domain=""), "val": val, "test": test.assign(domain="")}


def _name_domains(val: pd.DataFrame, train: pd.DataFrame) -> npt.NDArray[np.object_]:
    """`(n,)`: held out, or whether train has rows of the same generator."""
    known = val["generator"].isin({"", *train["generator"].unique()}).to_numpy()
    held = (val["domain"] == HELD_OUT).to_numpy()
    return np.where(held, HELD_OUT, np.where(known, SEEN, UNSEEN)).astype(object)


def _draw_share(rows: pd.DataFrame, share: float, seed: int, why: str) -> Mask:
    reals, fakes = count_classes(rows["label"])
    wanted = (round(share * reals), round(share * fakes))
    labels, groups = rows["label"].to_numpy(), rows["group"].to_numpy()
    return draw_groups(labels, groups, rows["img_name"], wanted, seed, why)


def _check_carved(rows: pd.DataFrame, held: Mask) -> None:
    reals, fakes = count_classes(rows["label"][held])
    if not reals or not fakes:
        problem = f"{reals} reals and {fakes} fakes were carved out of train, but both are needed"
        raise ManifestError("val", [problem], "Raise split.val_fraction, or name data.val.")


def _draw_blend(train: pd.DataFrame, val: pd.DataFrame, params: PrepareParams) -> Mask:
    """Val rows to move into the active fold: only groups that no train row belongs to."""
    moved = np.zeros(len(val), bool)
    share = params.split.blend_from_val
    if share:
        stays = val["group"].isin(val["group"][val["domain"] == HELD_OUT])
        free = ~(val["group"].isin(train["group"]) | stays).to_numpy()
        moved[free] = _draw_share(val[free], share, params.seed, "blend")
        if not moved.any():
            _log.warning("prepare: split.blend_from_val found no val group that train has not")
    return moved


def _assign_train(rows: pd.DataFrame, params: PrepareParams) -> pd.DataFrame:
    labels, groups = rows["label"].to_numpy(), rows["group"].to_numpy()
    names = rows["img_name"]
    folds = assign_folds(labels, groups, names, params.folds.count, params.seed)
    if len(params.folds.active) > 1:
        share, least = params.folds.calibration, params.folds.calibration_min
        folds[draw_calibration(labels, groups, names, share, least, params.seed)] = NO_FOLD
    return rows.assign(fold=folds)


def _blend(train: pd.DataFrame, moved: pd.DataFrame, folds: Folds) -> pd.DataFrame:
    """The moved rows become the active fold; train rows of that fold join the next one."""
    active = folds.active[0]
    others = train["fold"].replace(active, (active + 1) % folds.count)
    return pd.concat([train.assign(fold=others), moved.assign(fold=active)])
