"""Label files and image folders into one manifest per role.

Reads: data/demo, artifacts/inputs.json, label files and images below data.root
Writes: artifacts/manifest/train.parquet, artifacts/manifest/val.parquet,
    artifacts/manifest/test.parquet, artifacts/manifest/quarantine.csv,
    artifacts/manifest/summary.json
Params: seed, data, split, folds
"""

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.cli import Overrides, run_stage
from features.errors import ManifestError
from features.files import write_json, write_text
from features.images import Scan, scan_files
from features.labels import list_group_keys, read_labels
from features.manifest import NO_FOLD, READABLE, ROLES, SCHEMA, Role, count_classes, write_manifest
from features.params import load_params
from features.prepare_params import Folds, PrepareParams
from features.splits import (
    assign_folds,
    build_groups,
    check_classes,
    draw_calibration,
    draw_groups,
)

OUT = Path("artifacts/manifest")
_log = logging.getLogger("forgerystack")


def attach_scans(rows: pd.DataFrame, scans: list[Scan]) -> pd.DataFrame:
    """`rows` with width, height, bytes, format, sha256 and status of each file."""
    columns = [field.name for field in fields(Scan)]  # without any row there are none to infer
    facts = pd.DataFrame(scans, index=rows.index, columns=columns)
    facts["status"] = facts.pop("problem").replace("", READABLE)
    return pd.concat([rows, facts], axis=1)


def split_roles(tables: Mapping[Role, pd.DataFrame], params: PrepareParams) -> dict[str, Any]:
    """Rows of train, val and test with `group` and `fold`, moved between roles as params say."""
    labelled = pd.concat([tables["train"], tables.get("val")], ignore_index=True)
    labelled["group"] = build_groups(labelled[[*list_group_keys(params.data), "sha256"]])
    if "val" in tables:
        held = labelled.index.to_numpy() >= len(tables["train"])
    else:
        held = _draw_share(labelled, params.split.val_fraction, params.seed, "val")
        _check_carved(labelled, held)
    train, val = labelled[~held], labelled[held]
    moved = _draw_blend(train, val, params)
    train = _assign_train(train, params)
    if moved.any():
        train = _blend(train, val[moved], params.folds)
    test = tables.get("test", labelled.iloc[:0])
    test = test.assign(group=np.arange(len(test)), fold=NO_FOLD)
    return {"train": train, "val": val[~moved].assign(fold=NO_FOLD), "test": test}


def _draw_share(rows: pd.DataFrame, share: float, seed: int, why: str) -> np.ndarray[Any, Any]:
    reals, fakes = count_classes(rows["label"])
    wanted = (round(share * reals), round(share * fakes))
    labels, groups = rows["label"].to_numpy(), rows["group"].to_numpy()
    return draw_groups(labels, groups, list(rows["img_name"]), wanted, seed, why)


def _check_carved(rows: pd.DataFrame, held: np.ndarray[Any, Any]) -> None:
    reals, fakes = count_classes(rows["label"][held])
    if not reals or not fakes:
        problem = f"{reals} reals and {fakes} fakes were carved out of train, but both are needed"
        raise ManifestError("val", [problem], "Raise split.val_fraction, or name data.val.")


def _draw_blend(train: pd.DataFrame, val: pd.DataFrame, params: PrepareParams) -> Any:
    """Val rows to move into the active fold: only groups that no train row belongs to."""
    moved = np.zeros(len(val), bool)
    if params.split.blend_from_val:
        free = ~val["group"].isin(train["group"]).to_numpy()
        share = params.split.blend_from_val
        moved[free] = _draw_share(val[free], share, params.seed, "blend")
        if not moved.any():
            _log.warning("prepare: split.blend_from_val found no val group that train has not")
    return moved


def _assign_train(rows: pd.DataFrame, params: PrepareParams) -> pd.DataFrame:
    labels, groups = rows["label"].to_numpy(), rows["group"].to_numpy()
    names = list(rows["img_name"])
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


def finish_role(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` in the manifest's form: columns of its schema, `row_id` 0 … n-1."""
    rows = rows.reset_index(drop=True)
    rows["row_id"] = np.arange(len(rows), dtype=np.int64)
    types = {field.name: field.type.to_pandas_dtype() for field in SCHEMA}
    numbers = {name: kind for name, kind in types.items() if kind is not np.str_}
    return rows.reindex(columns=SCHEMA.names).astype(numbers)


def check_bad_share(role: str, rows: pd.DataFrame, limit: float) -> None:
    """Raises `ManifestError` with the reasons if too many of a role's images cannot be used."""
    bad = rows[rows["status"] != READABLE]
    if len(bad) <= limit * len(rows):
        return
    reasons = [f"{row.path} (line {row.line}): {row.status}" for row in bad.itertuples()]
    advice = (
        f"{len(bad)} of {len(rows)} {role} images cannot be used, more than "
        f"data.max_bad_fraction {limit:g} allows. The whole list: {OUT / 'quarantine.csv'}"
    )
    raise ManifestError(f"{role} images", reasons, advice)


def summarise(
    roles: Mapping[Role, pd.DataFrame], unreadable: Mapping[Role, int], folds: Folds
) -> dict[str, Any]:
    """Counts for people: rows and classes by role and by fold, groups, formats, sizes."""
    summary: dict[str, Any] = {}
    for role, rows in roles.items():
        reals, fakes = count_classes(rows["label"])
        summary[role] = {
            "rows": len(rows),
            "reals": reals,
            "fakes": fakes,
            "groups": int(rows["group"].nunique()),
            "unreadable": unreadable.get(role, 0),
            "formats": {str(k): int(v) for k, v in rows["format"].value_counts().items() if k},
        }
    train = roles["train"]
    held = {f"fold {k}": train["fold"] == k for k in folds.active}
    held["calibration"] = train["fold"] == NO_FOLD
    summary["folds"] = {
        name: dict(zip(("reals", "fakes"), count_classes(train["label"][keep]), strict=True))
        for name, keep in held.items()
    }
    return summary


def _scan_roles(params: PrepareParams) -> tuple[dict[Role, pd.DataFrame], int]:
    """All rows of all roles with what their files hold; raises all label problems first."""
    tables, problems, repeated = {}, [], 0
    for role in ROLES:
        files = getattr(params.data, role)
        if files is None:
            continue
        try:
            tables[role], dropped = read_labels(params.data, files, labelled=role != "test")
            repeated += dropped
        except ManifestError as error:
            problems.append(str(error))
    if problems:
        raise ManifestError("label files", problems)
    root = Path(params.data.root)
    for role, rows in tables.items():
        scans = scan_files(root, list(rows["path"]), params.data.max_pixels, f"scan {role}")
        tables[role] = attach_scans(rows, scans)
    return tables, repeated


def _quarantine(
    tables: dict[Role, pd.DataFrame], params: PrepareParams, out: Path
) -> dict[Role, int]:
    """Lists what cannot be used; takes it out of train and val, keeps it in test. Counts it."""
    columns = ["role", "line", "img_name", "path", "status"]
    bad = pd.concat([rows[rows["status"] != READABLE].assign(role=r) for r, rows in tables.items()])
    write_text(out / "quarantine.csv", bad[columns].to_csv(index=False))
    unreadable = {role: int((rows["status"] != READABLE).sum()) for role, rows in tables.items()}
    for role, rows in tables.items():
        if role != "test":
            check_bad_share(role, rows, params.data.max_bad_fraction)
            tables[role] = rows[rows["status"] == READABLE].reset_index(drop=True)
    return unreadable


def run(params: PrepareParams, out: Path = OUT) -> None:
    """Reads label files and images, writes the manifests, the quarantine and the summary."""
    tables, repeated = _scan_roles(params)
    unreadable = _quarantine(tables, params, out)
    _check_both_classes(tables)
    parts = split_roles(tables, params)
    roles = {role: finish_role(parts[role]) for role in ROLES}
    check_classes(
        roles["train"]["label"].to_numpy(), roles["train"]["fold"].to_numpy(), params.folds.active
    )
    for role in ROLES:
        write_manifest(roles[role], role, out / f"{role}.parquet")
    summary = summarise(roles, unreadable, params.folds)
    summary["repeated lines dropped"] = repeated
    write_json(out / "summary.json", summary)
    _log_summary(summary, params.folds)


def _check_both_classes(tables: Mapping[Role, pd.DataFrame]) -> None:
    problems = []
    for role in ("train", "val"):
        if role in tables:
            reals, fakes = count_classes(tables[role]["label"])
            if not reals or not fakes:
                problems.append(f"{role}: {reals} reals and {fakes} fakes, but both are needed")
    if problems:
        raise ManifestError("labels", problems)


def _log_summary(summary: Mapping[str, Any], folds: Folds) -> None:
    for role in ROLES:
        facts = summary[role]
        _log.info(
            "prepare: %s %d rows (%d real, %d fake) in %d groups, %d unreadable",
            role, facts["rows"], facts["reals"], facts["fakes"], facts["groups"],
            facts["unreadable"],
        )  # fmt: skip
    if summary["repeated lines dropped"]:
        _log.warning("prepare: %d repeated lines dropped", summary["repeated lines dropped"])
    spared = summary["folds"]["calibration"]
    if len(folds.active) > 1 and folds.calibration and not spared["fakes"]:
        _log.warning(
            "prepare: too few rows for calibration rows (%d of each class wanted): thresholds "
            "come from out-of-fold scores of single stackers", folds.calibration_min,
        )  # fmt: skip


def main(overrides: Overrides = None) -> None:
    """Turn label files and image folders into one manifest per role."""
    run(load_params(PrepareParams, overrides))


if __name__ == "__main__":
    run_stage("features.prepare", main)
