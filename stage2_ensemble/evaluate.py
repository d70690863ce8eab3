"""Measures members, combiners and what ships on val; nothing is fitted or chosen here.

Reads: artifacts/stackers, artifacts/dumps, artifacts/manifest/val.parquet
Writes: artifacts/metrics.json, artifacts/plots
Params: backbones, folds.active
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.metrics import roc_auc_score

from features.cli import Overrides, run_stage
from features.files import write_json, write_text
from features.manifest import Manifest, count_classes, read_manifest
from features.params import load_params
from features.stack_params import MembersParams
from stage2_ensemble.bundle import read_ensemble
from stage2_ensemble.columns import Columns, Floats, read_held_out
from stage2_ensemble.ensemble import CANDIDATES, Ensemble, check_members
from stage2_ensemble.metrics import FPR_GRID, RECALL_GRID, measure_scores, trace_curves

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
STACKERS = Path("artifacts/stackers")
OUT = Path("artifacts")
_log = logging.getLogger("forgerystack")


def score_all(ensemble: Ensemble, columns: Sequence[Columns]) -> dict[str, Floats]:
    """Scores `(n,)` of every member (`<backbone>-<fold>`) and every candidate."""
    scores = {
        f"{backbone}-{c.fold}": c.logits[:, i]
        for c in columns
        for i, backbone in enumerate(c.backbones)
    }
    scores.update({name: ensemble.score(name, columns) for name in CANDIDATES})
    return scores


def measure_val(ensemble: Ensemble, scores: dict[str, Floats], val: Manifest) -> dict[str, Any]:
    """The fixed form of `metrics.json`."""
    measured = {
        name: measure_scores(val.labels, score, ensemble.thresholds[name])
        for name, score in scores.items()
    }
    members = {name: measured[name] for name in scores if name not in CANDIDATES}
    combined: dict[str, Any] = {name: measured[name] for name in CANDIDATES}
    combined["stack"] = measured[ensemble.shipped]
    combined["shipped"] = ensemble.shipped
    reals, fakes = count_classes(val.labels)
    generators = measure_generators(scores[ensemble.shipped], val)
    return {
        "val": {"members": members, **combined},
        "rows": {"val": {"reals": reals, "fakes": fakes}},
        "generators": generators,
    }


def measure_generators(scores: Floats, val: Manifest) -> dict[str, Any]:
    """AUC of each generator's fakes against all reals of val."""
    generators = val.table["generator"].to_numpy()
    reals = val.labels == 0
    result = {}
    for name in sorted(set(generators[(val.labels == 1) & (generators != "")])):
        fakes = (val.labels == 1) & (generators == name)
        keep = reals | fakes
        auc = float(roc_auc_score(val.labels[keep], scores[keep]))
        result[str(name)] = {"auc": auc, "fakes": int(fakes.sum()), "reals": int(reals.sum())}
    return result


def build_plots(
    scores: dict[str, Floats], shipped: str, val: Manifest
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ROC and PR of every candidate and of what ships, one column each, on common grids."""
    drawn = {name: scores[name] for name in CANDIDATES} | {"stack": scores[shipped]}
    curves = {name: trace_curves(val.labels, score) for name, score in drawn.items()}
    roc = pd.DataFrame({"fpr": FPR_GRID} | {name: roc for name, (roc, _) in curves.items()})
    pr = pd.DataFrame({"recall": RECALL_GRID} | {name: pr for name, (_, pr) in curves.items()})
    return roc, pr


def run(params: MembersParams, out: Path = OUT) -> dict[str, Any]:
    """Reads the bundle and the val dumps, writes metrics and plots."""
    ensemble = read_ensemble(STACKERS)
    check_members(ensemble, list(params.backbones), params.folds.active)
    val = read_manifest(MANIFEST, "val")
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    columns = read_held_out(DUMPS, val, *members)
    scores = score_all(ensemble, columns)
    metrics = measure_val(ensemble, scores, val)
    roc, pr = build_plots(scores, ensemble.shipped, val)
    write_text(out / "plots" / "roc.csv", roc.to_csv(index=False))
    write_text(out / "plots" / "pr.csv", pr.to_csv(index=False))
    write_json(out / "metrics.json", metrics)
    _log_metrics(metrics)
    return metrics


def _log_metrics(metrics: dict[str, Any]) -> None:
    val = metrics["val"]
    for name in (*val["members"], *CANDIDATES):
        values = val["members"].get(name) or val[name]
        ships = "  <- ships" if name == val["shipped"] else ""
        _log.info("evaluate: val AUC %.4f %s%s", values["auc"], name, ships)
    for name, values in metrics["generators"].items():
        _log.info(
            "evaluate: val AUC %.4f on %s (%d fakes against %d reals)",
            values["auc"], name, values["fakes"], values["reals"],
        )  # fmt: skip
    if val["stack"]["auc"] < val["mean"]["auc"]:
        _log.info(
            "evaluate: on val, %s (ships) is below the plain mean of the members", val["shipped"]
        )


def main(overrides: Overrides = None) -> None:
    """Measure everything on val."""
    run(load_params(MembersParams, overrides))


if __name__ == "__main__":
    run_stage("stage2_ensemble.evaluate", main)
