"""What `python -m stage2_ensemble.gallery` does.

run(load_params(GalleryParams))                  # writes artifacts/gallery
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.artifacts.outside import locate_outside
from features.core.files import write_array, write_sealed
from features.core.manifest import SUMS, Ids, Manifest, read_manifest
from features.core.manifest_columns import take_columns
from features.core.sums import check_sums
from features.errors import StaleArtifactError
from features.settings.report import GalleryParams, Report
from stage2_ensemble.columns.columns import Floats, HeldOutColumns, Mask, read_dumps, read_held_out
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.explanations.contributions import explain_model
from stage2_ensemble.findings.tables import read_evaluation
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage, check_members
from stage2_ensemble.gallery.choosing import ValScores, choose_shown
from stage2_ensemble.gallery.facts import (
    FACT_COLUMNS,
    FACTS,
    NEIGHBOUR_COLUMNS,
    ROWS,
    describe_neighbour,
    describe_row,
    list_drivers,
    list_explained,
    list_overrides,
    list_quarantined,
    list_val_pairs,
    measure_disagreement,
)
from stage2_ensemble.gallery.neighbours import find_neighbours

EVALUATION = Path("artifacts/evaluation.parquet")
MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
STACKERS = Path("artifacts/stackers")
OUT = Path("artifacts/gallery")
_log = logging.getLogger("forgerystack")


def run(params: GalleryParams, out: Path = OUT) -> None:
    """Chooses rows, and writes their ids (increasing) and what is known of each."""
    ensemble = read_ensemble(STACKERS)
    check_members(ensemble, params.names, params.folds.active)
    val, train = (read_manifest(MANIFEST, role) for role in ("val", "train"))
    table = read_evaluation(EVALUATION)
    if not np.array_equal(table["img_name"], val.read("img_name")):
        found, wanted = f"{len(table)} rows", f"the {len(val)} rows of val"
        raise StaleArtifactError(EVALUATION, found, wanted, "evaluate")
    pairs = list_val_pairs(_read_list("duplicates.csv"), val)
    disagreement = measure_disagreement(table, ensemble)
    chosen = _choose(ensemble, table, disagreement, _mark(pairs, len(val)), params.report)
    rows = np.array(sorted(chosen), np.int64)
    files = take_columns(val, ("override", *FACT_COLUMNS), rows)
    entries = [
        {
            **describe_row(table.iloc[row], files.loc[row], ensemble),
            "disagreement": float(disagreement[row]),
            "why": chosen[row],
            "pairs": pairs.get(row, []),
        }
        for row in rows.tolist()
    ]
    if entries:
        columns = _read_columns(ensemble, val, rows, params.outside)
        _add_reasons(entries, ensemble, columns)
        own = columns[0].keep(params.backbones)
        _add_neighbours(entries, own, train, params.report.neighbours)
    facts = {
        "val_manifest": val.digest,
        "shipped": ensemble.shipped,
        "threshold": ensemble.rules.find_threshold(ensemble.shipped),
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
    (path,) = check_sums(MANIFEST / SUMS, "prepare", name)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _choose(
    ensemble: SecondStage, table: pd.DataFrame, disagreement: Floats, has_pair: Mask, report: Report
) -> dict[int, str]:
    candidates = ValScores(
        labels=table["label"].to_numpy(np.int8),
        log_odds=table["score:stack"].to_numpy(np.float64),
        threshold=ensemble.rules.find_threshold(ensemble.shipped),
        disagreement=disagreement,
        generators=table["generator"].to_numpy(object),
        has_pair=has_pair,
    )
    return choose_shown(candidates, report.rows)


def _mark(rows: Mapping[int, object], count: int) -> Mask:
    mask = np.zeros(count, bool)
    mask[list(rows)] = True
    return mask


def _read_columns(
    ensemble: SecondStage, val: Manifest, rows: Ids, outside: Iterable[str]
) -> list[HeldOutColumns]:
    """What the members say of the rows, one per active fold."""
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(FORENSICS, val, ensemble.file_codes)
    found = read_held_out(DUMPS, val, *members, extras, locate_outside(outside))
    return [c.take(rows) for c in found]


def _add_reasons(
    entries: list[dict[str, Any]], ensemble: SecondStage, columns: list[HeldOutColumns]
) -> None:
    """`drivers`: by model the columns that moved each row's log-odds most."""
    found = {
        name: explain_model(ensemble.models[name], columns) for name in list_explained(ensemble)
    }
    for place, entry in enumerate(entries):
        entry["drivers"] = {
            name: list_drivers(part, place) for name, part in found.items() if part is not None
        }


def _add_neighbours(
    entries: list[dict[str, Any]], columns: HeldOutColumns, train: Manifest, count: int
) -> None:
    """`neighbours`: rows of train that the members of `columns` did not learn from.

    Only these have embeddings by the same networks. Detectors from outside have no part in it:
    without networks there is nothing to compare.
    """
    if not columns.backbones:
        for entry in entries:
            entry["neighbours"] = []
        return
    dumps = read_dumps(DUMPS, train, columns.backbones, columns.fold, train.digest)
    places, near = find_neighbours(columns.embeddings, [d.embeddings for d in dumps], count)
    found = dumps[0].row_ids[places]
    known = take_columns(train, NEIGHBOUR_COLUMNS, np.unique(found))
    for entry, ids, similarities in zip(entries, found, near, strict=True):
        entry["neighbours"] = [
            describe_neighbour(known.loc[row], similarity)
            for row, similarity in zip(ids.tolist(), similarities.tolist(), strict=True)
        ]
