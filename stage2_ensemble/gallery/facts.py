"""What is known of a row of val: its scores and file, its pairs, neighbours and drivers."""

from typing import Any

import numpy as np
import pandas as pd

from features.core.manifest import Manifest
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.explanations.contributions import Contributions
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.models.candidates import GATED

ROWS, FACTS = "rows.npy", "gallery.json"
DRIVERS = 6
"""Columns named for a row; the rest are added up."""
QUARANTINED = 40
"""Files of val that could not be used: so many are listed."""
FACT_COLUMNS = ("width", "height", "bytes", "format", "notes")
FORM = {
    "val_manifest": str,
    "shipped": str,
    "threshold": float,
    "val_rows": int,
    "rows": list,
    "overrides": list,
    "quarantined": list,
    "quarantined_rows": int,
}


def measure_disagreement(table: pd.DataFrame, ensemble: SecondStage) -> Floats:
    """`(n,)` standard deviation of the backbones' log-odds, each the mean over its folds.

    Of those that have scored the row.
    """
    by_backbone = [
        np.mean([table[f"score:{name}"] for name in names], axis=0)
        for names in _list_members(table, ensemble).values()
    ]
    return np.asarray(np.nanstd(by_backbone, axis=0))


def _list_members(scored: pd.DataFrame | pd.Series, ensemble: SecondStage) -> dict[str, list[str]]:
    """By backbone its members; a detector from outside is one, whatever the folds."""
    names = {b: [f"{b}-{fold}" for fold in ensemble.folds] for b in ensemble.backbones}
    return {b: [name for name in own if f"score:{name}" in scored] for b, own in names.items()}


def describe_row(scored: pd.Series, row: pd.Series, ensemble: SecondStage) -> dict[str, Any]:
    """What there is to say of one row of val: its scores, its file."""
    names = [name for own in _list_members(scored, ensemble).values() for name in own]
    members = {name: float(scored[f"score:{name}"]) for name in names}
    return {
        "row": int(scored["row_id"]),
        "name": str(scored["img_name"]),
        "path": str(scored["path"]),
        "label": int(scored["label"]),
        "override": int(row["override"]),
        "generator": str(scored["generator"]),
        "source": str(scored["source"]),
        "domain": str(scored["domain"]),
        "decision": str(scored["decision"]),
        "probability": float(scored["probability"]),
        "log_odds": float(scored["score:stack"]),
        "members": {name: score for name, score in members.items() if np.isfinite(score)},
        "null_model": float(scored["null_model"]),
        "file": {name: _to_plain(row[name]) for name in FACT_COLUMNS},
    }


def _to_plain(value: Any) -> int | str:
    return value if isinstance(value, str) else int(value)


def list_val_pairs(duplicates: pd.DataFrame, val: Manifest) -> dict[int, list[dict[str, str]]]:
    """By row of val the other rows that show the same picture."""
    sides = (duplicates[side][duplicates[f"{side}_role"] == "val"] for side in ("first", "second"))
    paths = val.read("path")
    paths = paths[paths.isin(pd.concat(sides)).to_numpy(bool)]
    places = dict(zip(paths, paths.index, strict=True))
    found: dict[int, list[dict[str, str]]] = {}
    for own, other in (("first", "second"), ("second", "first")):
        for pair in duplicates[duplicates[f"{own}_role"] == "val"].to_dict("records"):
            if (row := places.get(pair[own])) is not None:
                entry = {
                    "role": pair[f"{other}_role"],
                    "path": pair[other],
                    "kind": pair["kind"],
                    "action": pair["action"],
                }
                found.setdefault(row, []).append(entry)
    return found


def list_overrides(rows: Manifest) -> list[dict[str, Any]]:
    """Labels that were corrected or confirmed before, as a `review.csv` has them.

    Of train those that were changed; their list says the other label.
    """
    looked_at = np.flatnonzero(rows.overrides >= 0)
    columns = ("img_name", "label", "override")
    names, labels, found = (rows.read(name).iloc[looked_at] for name in columns)
    listed = 1 - found if rows.role == "train" else labels
    lines = {"name": names, "label": listed.astype(int), "corrected": found.astype(int)}
    records = pd.DataFrame(lines).assign(role=rows.role).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


def list_quarantined(quarantine: pd.DataFrame) -> dict[str, Any]:
    """Files of val that could not be used, and how many there are."""
    own = quarantine[quarantine["role"] == "val"]
    listed = own.head(QUARANTINED)[["img_name", "path", "status"]]
    names = {"img_name": "name", "status": "problem"}
    return {
        "quarantined": listed.rename(columns=names).to_dict("records"),
        "quarantined_rows": len(own),
    }


def list_explained(ensemble: SecondStage) -> list[str]:
    """What ships, and the first LightGBM model beside it."""
    boosted = [name for name in GATED if name in ensemble.models]
    return list(dict.fromkeys([ensemble.shipped, *boosted[:1]]))


def list_drivers(found: Contributions, place: int) -> dict[str, Any]:
    """The columns that moved one row most, in log-odds; `base` and all add up to its score."""
    values = found.values[place]
    order = np.argsort(-np.abs(values), kind="stable")
    top = [i for i in order[:DRIVERS].tolist() if values[i] != 0]
    return {
        "base": found.base,
        "columns": [[describe_column(found.names[i]), float(values[i])] for i in top],
        "others": float(values.sum() - values[top].sum()),
    }


def describe_column(name: str) -> str:
    """A column of the second stage in words."""
    kind, _, rest = name.partition(":")
    match kind:
        case "logit":
            return f"log-odds of {rest}"
        case "logit_max":
            return f"highest log-odds of a crop, {rest}"
        case "logit_spread":
            return f"spread of log-odds over crops, {rest}"
        case "distance":
            return f"nearness to class means, {rest}"
        case "pca":
            backbone, _, number = rest.rpartition(":")
            return f"component {number} of {backbone}"
        case "spread" | "margin":
            return f"{kind} of the members"
        case "forensic":
            family, _, feature = rest.partition(":")
            return f"{family}: {feature}"
    return name.replace(":", ": ")


NEIGHBOUR_COLUMNS = ("img_name", "path", "label", "generator")


def describe_neighbour(row: pd.Series, similarity: float) -> dict[str, Any]:
    return {
        "name": str(row["img_name"]),
        "path": str(row["path"]),
        "label": int(row["label"]),
        "generator": str(row["generator"]),
        "similarity": round(similarity, 4),
    }
