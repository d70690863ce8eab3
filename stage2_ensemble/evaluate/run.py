"""What `python -m stage2_ensemble.evaluate` does.

metrics = run(load_params(MembersParams))
metrics["val"]["stack"]["auc"]                   # 0.953
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from features.artifacts.null_model import NullFindings, read_null_model
from features.artifacts.outside import FOLDER, locate_outside, read_outside, read_summary
from features.core.auc import measure_auc
from features.core.files import write_sealed, write_text
from features.core.manifest import Manifest, count_classes, find_headline_rows, read_manifest
from features.core.sums import write_sums
from features.runtime.costs import read_costs
from features.settings.members import MembersParams
from stage2_ensemble.charts.charts import build_charts, write_pngs
from stage2_ensemble.columns.columns import Floats, MemberColumns, read_held_out
from stage2_ensemble.columns.extras import read_extras
from stage2_ensemble.decisions.conformal import FAKE
from stage2_ensemble.explanations.reasons import (
    find_reasons,
    measure_without,
    tabulate_reasons,
)
from stage2_ensemble.explanations.shapes import tabulate_shapes
from stage2_ensemble.findings.backbones import judge_backbones
from stage2_ensemble.findings.called_fake import measure_called_fake
from stage2_ensemble.findings.corrected_labels import measure_corrected
from stage2_ensemble.findings.domains import measure_domains, measure_generators
from stage2_ensemble.findings.final_run import (
    NO_EARLIER,
    describe_last,
    quote_earlier,
    tabulate_last,
)
from stage2_ensemble.findings.outside import drop_repeated, measure_outside
from stage2_ensemble.findings.robustness import read_robustness
from stage2_ensemble.findings.rule_checks import (
    ShippedRows,
    check_rules,
    read_shipped,
    tabulate_shipped,
)
from stage2_ensemble.findings.scorers import measure_scorers, measure_units
from stage2_ensemble.findings.tables import (
    EVALUATION,
    METRICS,
    SUMS,
    tabulate_dots,
    tabulate_evaluation,
    tabulate_histories,
    tabulate_nothing,
    tabulate_rows,
    write_evaluation,
)
from stage2_ensemble.fitted.bundle import read_ensemble
from stage2_ensemble.fitted.ensemble import SecondStage, check_members
from stage2_ensemble.measures.metrics import FPR_GRID, RECALL_GRID, trace_curves
from stage2_ensemble.models.candidates import CANDIDATES
from stage2_ensemble.results.form import Metrics, OutsideFigures, ValMetrics
from stage2_ensemble.results.metrics_file import write_metrics
from stage2_ensemble.sentences.log import list_log_lines

MANIFEST = Path("artifacts/manifest")
DUMPS = Path("artifacts/dumps")
FORENSICS = Path("artifacts/forensics")
STACKERS = Path("artifacts/stackers")
NULL_MODEL = Path("artifacts/null_model")
MEMBERS = Path("artifacts/members")
PERTURBED = Path("artifacts/perturbed")
OUT = Path("artifacts")
_log = logging.getLogger("forgerystack")


def measure_val(
    ensemble: SecondStage,
    scores: dict[str, Floats],
    val: Manifest,
    null: NullFindings,
    evaluation: pd.DataFrame,
) -> dict[str, Any]:
    """The fixed form of `metrics.json`, but for what `check_rules` and `give_reasons` add.

    `scores`: as `SecondStage.read_all` gives them; `evaluation`: with the answers. `val` and `rows`
    are about the headline rows, `generators`, `domains` and `called_fake` about all of val.
    """
    rows = find_headline_rows(val)
    labels, groups = val.labels[rows], val.groups[rows]
    headline = {name: score[rows] for name, score in scores.items()}
    found = measure_scorers(ensemble, ensemble.rules, headline, labels, groups)
    found["null_model"] = {
        **measure_auc(labels, null.scores[rows], groups).to_metrics(),
        "told_apart": null.facts["told_apart"],
        "main_feature": null.facts["main_feature"],
    }
    reals, fakes = count_classes(labels)
    shipped = scores[ensemble.shipped]
    called = np.asarray(evaluation["decision"] == FAKE, bool)
    return {
        "val": found,
        "rows": {"val": {"reals": reals, "fakes": fakes}},
        "generators": measure_generators(shipped, null.scores, val),
        "domains": measure_domains(shipped, null.scores, val),
        "called_fake": measure_called_fake(called, val),
    }


def _read_headline(ensemble: SecondStage, uncalibrated: Floats, val: Manifest) -> ShippedRows:
    """The headline rows with what ships, whose log-odds are `uncalibrated`."""
    rows = np.flatnonzero(find_headline_rows(val))
    return read_shipped(ensemble, rows, val.labels[rows], val.groups[rows], uncalibrated[rows])


def give_reasons(
    ensemble: SecondStage, columns: Sequence[MemberColumns], shipped: Floats, val: Manifest
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """`blocks` and `without` of `metrics.json`, and their tables; on the headline rows.

    `shipped`: log-odds of what ships as they come.
    """
    rows = np.flatnonzero(find_headline_rows(val))
    reasons = find_reasons(ensemble, columns, rows)
    without = measure_without(ensemble, columns, shipped, rows, val.labels, val.groups)
    blocks = {name: reason.blocks for name, reason in reasons.items()}
    tables = tabulate_reasons(reasons, ensemble.shipped, without)
    tables["shapes"] = tabulate_shapes(ensemble.models.get("lightgbm"), columns, rows)
    return {"blocks": blocks, "without": without}, tables


def build_plots(scores: dict[str, Floats], shipped: str, val: Manifest) -> dict[str, pd.DataFrame]:
    """`roc` and `pr` of every candidate and of what ships, one column each, on common grids.

    On the headline rows.
    """
    rows = find_headline_rows(val)
    # A candidate that the settings or the rows rule out has an empty column.
    drawn = {name: scores[name][rows] for name in CANDIDATES if name in scores}
    drawn["stack"] = scores[shipped][rows]
    curves = {name: trace_curves(val.labels[rows], score) for name, score in drawn.items()}
    names = [*CANDIDATES, "stack"]
    roc = pd.DataFrame({"fpr": FPR_GRID} | {name: roc for name, (roc, _) in curves.items()})
    pr = pd.DataFrame({"recall": RECALL_GRID} | {name: pr for name, (_, pr) in curves.items()})
    return {
        "roc": roc.reindex(columns=["fpr", *names]),
        "pr": pr.reindex(columns=["recall", *names]),
    }


def run(params: MembersParams, out: Path = OUT) -> Metrics:
    """Reads the bundle and the val dumps, writes metrics and plots."""
    ensemble = read_ensemble(STACKERS)
    check_members(ensemble, params.names, params.folds.active)
    val = read_manifest(MANIFEST, "val")
    kept = out / "held_out_metrics.json"
    metrics: Metrics
    if len(val):
        metrics, plots, evaluation = _measure(ensemble, val, list(params.outside))
        write_sealed(kept, dict(metrics))
    else:
        earlier = quote_earlier(kept)
        metrics = describe_last(ensemble, earlier)
        plots, evaluation = tabulate_last(metrics), tabulate_nothing(ensemble, val)
        if earlier is None:  # DVC wants a file
            write_sealed(kept, {"val": None, "note": NO_EARLIER})
    networks = [name for name in ensemble.backbones if name in params.backbones]
    plots |= tabulate_histories(MEMBERS, networks, ensemble.folds)
    for name, table in plots.items():
        write_text(out / "plots" / f"{name}.csv", table.to_csv(index=False))
    write_pngs(build_charts(metrics, plots), out / "plots")
    write_evaluation(evaluation, out / EVALUATION)
    write_metrics(out / METRICS, metrics)
    plotted = [out / "plots" / f"{name}.csv" for name in plots]
    write_sums(out / SUMS, [out / METRICS, out / EVALUATION, *plotted])
    # Costs are for the log alone: same seed and machine, same bytes.
    for line in list_log_lines(metrics, read_costs(ensemble.backbones, ensemble.digests)):
        _log.info("evaluate: %s", line)
    return metrics


def _measure(
    ensemble: SecondStage, val: Manifest, outside: Sequence[str]
) -> tuple[ValMetrics, dict[str, pd.DataFrame], pd.DataFrame]:
    """Metrics, plots and the table of rows of a run with val."""
    null = read_null_model(NULL_MODEL, val, ensemble.train_digest)
    members = (ensemble.backbones, ensemble.folds, ensemble.train_digest)
    extras = read_extras(FORENSICS, val, ensemble.file_codes)
    columns = read_held_out(DUMPS, val, *members, extras, locate_outside(outside))
    uncalibrated = drop_repeated(ensemble.score_all(columns), outside, ensemble.folds)
    scores = ensemble.rules.read_all(uncalibrated)
    shipped = _read_headline(ensemble, uncalibrated[ensemble.shipped], val)
    evaluation = tabulate_evaluation(ensemble, uncalibrated, val, null.scores)
    metrics = measure_val(ensemble, scores, val, null, evaluation)
    metrics |= check_rules(ensemble, shipped, metrics["val"]["stack"])
    if val.has_units:
        metrics["units"] = measure_units(ensemble, uncalibrated, val)
    if corrected := measure_corrected(ensemble, scores, val):
        metrics["corrected"] = corrected
    if outside:
        metrics["outside_figures"] = _measure_outside(outside, ensemble.folds, val)
    if frozen := count_learned(columns[0]):
        metrics["frozen"] = frozen
    metrics["backbone_figures"] = judge_backbones(ensemble, columns, val, outside)
    reasons, plots = give_reasons(ensemble, columns, uncalibrated[ensemble.shipped], val)
    plots |= build_plots(scores, ensemble.shipped, val) | tabulate_shipped(shipped)
    plots |= tabulate_rows(evaluation, ensemble.rules.band is not None)
    changed, table = read_robustness(PERTURBED, ensemble, val, extras.names)
    metrics["promises"] |= changed.promises
    whole = cast(ValMetrics, {**metrics, **reasons, "robustness": changed.robustness})
    return whole, plots | tabulate_dots(whole) | table, evaluation


def count_learned(columns: MemberColumns) -> dict[str, int]:
    """Parameters of the head of each backbone with a frozen encoder: a weight for each value of its
    embedding, and a bias.
    """
    encoders = columns.encoders or ("",) * len(columns.backbones)
    named = zip(columns.backbones, encoders, columns.embeddings, strict=True)
    return {name: rows.shape[1] + 1 for name, encoder, rows in named if encoder}


def _measure_outside(
    names: Sequence[str], folds: Sequence[int], val: Manifest
) -> dict[str, OutsideFigures]:
    """`outside_figures` of `metrics.json`."""
    train, facts = read_manifest(MANIFEST, "train"), read_summary(FOLDER)
    found = {}
    for name, place in locate_outside(names).items():
        on_train, on_val = (read_outside(place, manifest) for manifest in (train, val))
        found[name] = measure_outside(facts[name], on_train, on_val, train, val, folds)
    return found
