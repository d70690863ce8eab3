"""Rows of val that a person should look at, with all that is known of each.

Reads: artifacts/evaluation.parquet, artifacts/stackers/MANIFEST.json,
    artifacts/stackers/ensemble.json, artifacts/stackers/models, artifacts/dumps,
    artifacts/forensics, artifacts/manifest/train.parquet, artifacts/manifest/val.parquet,
    artifacts/manifest/duplicates.csv, artifacts/manifest/quarantine.csv
Writes: artifacts/gallery
Params: backbones, folds.active, report
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.cli import Overrides, run_stage
from features.errors import MissingArtifactError, StaleArtifactError
from features.files import write_array, write_sealed
from features.manifest import Ids, Manifest, read_manifest
from features.params import load_params
from features.report_params import GalleryParams, Report
from stage2_ensemble.bundle import read_ensemble
from stage2_ensemble.candidates import GATED
from stage2_ensemble.columns import Floats, HeldOutColumns, Mask, read_dumps, read_held_out
from stage2_ensemble.contributions import Contributions, explain_model
from stage2_ensemble.ensemble import Ensemble, check_members
from stage2_ensemble.evaluation_table import read_evaluation
from stage2_ensemble.extras import read_extras
from stage2_ensemble.gallery_rows import Candidates, choose_rows
from stage2_ensemble.neighbours import find_neighbours

EVALUATION = Path("artifacts/evaluation.parquet")
MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
STACKERS = Path("artifacts/stackers")
OUT = Path("artifacts/gallery")
ROWS, FACTS = "rows.npy", "gallery.json"
DRIVERS = 6
"""Columns named for a row; the rest are added up."""
QUARANTINED = 40
"""Files of val that could not be used: so many are listed."""
FACT_COLUMNS = ("width", "height", "bytes", "format", "notes")
_log = logging.getLogger("forgerystack")


def run(params: GalleryParams, out: Path = OUT) -> None:
    """Chooses rows, and writes their ids (increasing) and what is known of each."""
    ensemble = read_ensemble(STACKERS)
    check_members(ensemble, list(params.backbones), params.folds.active)
    val, train = (read_manifest(MANIFEST, role) for role in ("val", "train"))
    table = read_evaluation(EVALUATION)
    if table["img_name"].tolist() != val.table["img_name"].tolist():
        found, wanted = f"{len(table)} rows", f"the {len(val)} rows of val"
        raise StaleArtifactError(EVALUATION, found, wanted, "evaluate")
    pairs = list_val_pairs(_read_list("duplicates.csv"), val)
    disagreement = measure_disagreement(table, ensemble)
    chosen = _choose(ensemble, table, disagreement, _mark(pairs, len(val)), params.report)
    rows = np.array(sorted(chosen), np.int64)
    entries = [
        {
            **describe_row(table.iloc[row], val.table.iloc[row], ensemble),
            "disagreement": float(disagreement[row]),
            "why": chosen[row],
            "pairs": pairs.get(row, []),
        }
        for row in rows.tolist()
    ]
    if entries:
        columns = _read_columns(ensemble, val, rows)
        _add_reasons(entries, ensemble, columns)
        _add_neighbours(entries, columns[0], train, params.report.neighbours)
    facts = {
        "val_manifest": val.digest,
        "shipped": ensemble.shipped,
        "threshold": ensemble.readings.find_threshold(ensemble.shipped),
        "val_rows": len(val),
        "rows": entries,
        "overrides": [*list_overrides(train), *list_overrides(val)],
        **list_quarantined(_read_list("quarantine.csv")),
    }
    write_array(out / ROWS, rows)
    write_sealed(out / FACTS, facts)
    _log.info("gallery: %d of %d val rows", len(rows), len(val))


def _read_list(name: str) -> pd.DataFrame:
    """One of `prepare`'s lists, all cells text."""
    path = MANIFEST / name
    if not path.is_file():
        raise MissingArtifactError(path, "prepare")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def measure_disagreement(table: pd.DataFrame, ensemble: Ensemble) -> Floats:
    """`(n,)` standard deviation of the backbones' log-odds, each the mean over its folds."""
    by_backbone = [
        np.mean([table[f"score:{backbone}-{fold}"] for fold in ensemble.folds], axis=0)
        for backbone in ensemble.backbones
    ]
    return np.asarray(np.std(by_backbone, axis=0))


def _choose(
    ensemble: Ensemble, table: pd.DataFrame, disagreement: Floats, has_pair: Mask, report: Report
) -> dict[int, str]:
    candidates = Candidates(
        labels=table["label"].to_numpy(np.int8),
        log_odds=table["score:stack"].to_numpy(np.float64),
        threshold=ensemble.readings.find_threshold(ensemble.shipped),
        disagreement=disagreement,
        generators=table["generator"].tolist(),
        has_pair=has_pair,
    )
    return choose_rows(candidates, report.rows)


def _mark(rows: Mapping[int, object], count: int) -> Mask:
    mask = np.zeros(count, bool)
    mask[list(rows)] = True
    return mask


def describe_row(scored: pd.Series, row: pd.Series, ensemble: Ensemble) -> dict[str, Any]:
    """What there is to say of one row of val: its scores, its file."""
    members = [f"{backbone}-{fold}" for backbone in ensemble.backbones for fold in ensemble.folds]
    return {
        "row": int(scored["row_id"]),
        "name": str(scored["img_name"]),
        "path": str(scored["path"]),
        "label": int(scored["label"]),
        "override": int(row["override"]),
        "generator": str(scored["generator"]),
        "domain": str(scored["domain"]),
        "decision": str(scored["decision"]),
        "probability": float(scored["probability"]),
        "log_odds": float(scored["score:stack"]),
        "members": {name: float(scored[f"score:{name}"]) for name in members},
        "null_model": float(scored["null_model"]),
        "file": {name: _to_plain(row[name]) for name in FACT_COLUMNS},
    }


def _to_plain(value: Any) -> int | str:
    return value if isinstance(value, str) else int(value)


def list_val_pairs(duplicates: pd.DataFrame, val: Manifest) -> dict[int, list[dict[str, str]]]:
    """By row of val the other rows that show the same picture."""
    places = {path: row for row, path in enumerate(val.table["path"])}
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
    looked_at = rows.table[rows.table["override"] >= 0]
    names, labels, found = (looked_at[name] for name in ("img_name", "label", "override"))
    listed = 1 - found if rows.role == "train" else labels
    columns = {"name": names, "label": listed.astype(int), "corrected": found.astype(int)}
    records = pd.DataFrame(columns).assign(role=rows.role).to_dict("records")
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


def _read_columns(ensemble: Ensemble, val: Manifest, rows: Ids) -> list[HeldOutColumns]:
    """What the members say of the rows, one per active fold."""
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(FORENSICS, val, ensemble.file_codes)
    return [c.take(rows) for c in read_held_out(DUMPS, val, *members, extras)]


def _add_reasons(
    entries: list[dict[str, Any]], ensemble: Ensemble, columns: list[HeldOutColumns]
) -> None:
    """`drivers`: by model the columns that moved each row's log-odds most."""
    found = {name: explain_model(ensemble.models[name], columns) for name in _explained(ensemble)}
    for place, entry in enumerate(entries):
        entry["drivers"] = {
            name: list_drivers(part, place) for name, part in found.items() if part is not None
        }


def _explained(ensemble: Ensemble) -> list[str]:
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
        case "distance":
            return f"nearness to class means, {rest}"
        case "pca":
            backbone, _, number = rest.rpartition(":")
            return f"component {number} of {backbone}"
        case "spread" | "margin":
            return f"{kind} of the networks"
        case "forensic":
            family, _, feature = rest.partition(":")
            return f"{family}: {feature}"
    return name.replace(":", ": ")


def _add_neighbours(
    entries: list[dict[str, Any]], columns: HeldOutColumns, train: Manifest, count: int
) -> None:
    """`neighbours`: rows of train that the members of `columns` did not learn from.

    Only these have embeddings by the same networks.
    """
    dumps = read_dumps(DUMPS, train, columns.backbones, columns.fold, train.digest)
    places, near = find_neighbours(columns.embeddings, [d.embeddings for d in dumps], count)
    found = dumps[0].row_ids[places]
    for entry, ids, similarities in zip(entries, found, near, strict=True):
        entry["neighbours"] = [
            _describe_neighbour(train.table.iloc[row], similarity)
            for row, similarity in zip(ids.tolist(), similarities.tolist(), strict=True)
        ]


def _describe_neighbour(row: pd.Series, similarity: float) -> dict[str, Any]:
    return {
        "name": str(row["img_name"]),
        "path": str(row["path"]),
        "label": int(row["label"]),
        "generator": str(row["generator"]),
        "similarity": round(similarity, 4),
    }


def main(overrides: Overrides = None) -> None:
    """Choose rows of val to look at, and gather what is known of them."""
    run(load_params(GalleryParams, overrides))


if __name__ == "__main__":
    run_stage("stage2_ensemble.gallery", main)
