"""Tables of what was found: all rows of val with their scores, and what stands behind figures.

`evaluation.parquet` has every row of val with all its scores, for whoever wants to look further:

| column | meaning |
|---|---|
| `row_id`, `img_name`, `path`, `label`, `group` | of the manifest |
| `generator`, `source`, `unit`, `domain` | of the manifest |
| `override` | the corrected label, -1 where nobody looked; equal to `label` where confirmed |
| `headline` | headline figures stand on it: not moved to val by `split.hold_out` |
| `null_model` | log-odds of the null model, at equal class shares |
| `score:<name>` | calibrated log-odds of each member `<backbone>-<fold>` and each candidate |
| `score:stack` | those of what ships |
| `probability` | of fake, by what ships |
| `decision` | `real`, `fake` or `review`, as `label` would answer |

Scores are at the share of fakes that `label.prior` says. Tables of scores by class and of answers
by label are of the headline rows. Curves of trainings are to look at: nothing acts on them.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.core.files import write_atomic
from features.core.manifest import Manifest, find_headline_rows
from features.core.manifest_columns import take_columns
from features.core.sums import check_sums
from stage2_ensemble.columns.columns import Floats
from stage2_ensemble.decisions.conformal import FAKE, REAL, REVIEW
from stage2_ensemble.decisions.rules import answer_rows
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.results.form import ValMetrics
from stage2_ensemble.results.scores import list_combiners, list_domains

Entry = tuple[str, str, Mapping[str, Any]]
"""Kind, name and values."""
ENDS = ("auc", "auc_low", "auc_high")
SCORERS = ("name", "kind", *ENDS)
PARTS = (*SCORERS, "null_auc", "domain", "reals", "fakes", "groups", "against")
CALLED_FAKE = (
    *("label", "kind", "name", "called_fake", "called_fake_low", "called_fake_high"),
    *("shared_low", "shared_high", "rows", "groups"),
)
"""Columns of tables."""
LEARNING = ("backbone", "fold", "epoch", "loss", "lr", "raw_auc", "ema_auc")
SAMPLER = (
    *("backbone", "fold", "epoch", "real_share", "seen_real", "repeats_real_mean"),
    *("repeats_real_max", "seen_fake", "repeats_fake_mean", "repeats_fake_max"),
)
_log = logging.getLogger("forgerystack")
BINS = 40
QUANTILES = (0.01, 0.99)
"""Quantiles of scores between which bins lie; rows beyond are counted in the last ones."""
HISTOGRAM = ("low", "high", "real", "fake")
CONFUSION = ("label", "real", "fake")
METRICS, EVALUATION = "metrics.json", "evaluation.parquet"
SUMS = "evaluate.sums.json"
"""Seals these and the tables behind figures; what it lists is read by nobody unchecked."""
FROM_MANIFEST = [
    *("row_id", "img_name", "path", "label", "override", "group"),
    *("generator", "source", "unit", "domain"),
]


def list_scorers(metrics: ValMetrics) -> list[Entry]:
    """Kind, name and values: members, candidates, the null model."""
    val = metrics["val"]
    found: list[Entry] = [("member", name, values) for name, values in val["members"].items()]
    found += [("candidate", name, values) for name, values in list_combiners(val).items()]
    return [*found, ("null model", "null model", val["null_model"])]


def list_subgroups(metrics: ValMetrics) -> list[Entry]:
    """Kind, name and values of generators and, where there are several, domains."""
    domains = list_domains(metrics["domains"])
    found: list[Entry] = [
        ("generator", name, values) for name, values in metrics["generators"].items()
    ]
    if len(domains) > 1:
        found += [("domain", name.replace("_", "-"), values) for name, values in domains.items()]
    return found


def tabulate_dots(metrics: ValMetrics) -> dict[str, pd.DataFrame]:
    """`scorers`, `parts` and `called_fake`: what the figures show, as tables."""
    subgroups = list_subgroups(metrics)
    if gap := metrics["domains"].get("gap"):
        subgroups.append(("gap", "seen minus unseen", gap))
    return {
        "scorers": _tabulate(list_scorers(metrics), SCORERS),
        "parts": _tabulate(subgroups, PARTS),
        "called_fake": _tabulate_called_fake(metrics),
    }


def _tabulate(entries: list[Entry], columns: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        {key: values.get(key) for key in columns} | {"name": name, "kind": kind}
        for kind, name, values in entries
    ]
    return pd.DataFrame(rows, columns=list(columns))


def _tabulate_called_fake(metrics: ValMetrics) -> pd.DataFrame:
    found = metrics["called_fake"]
    rows = [
        {**entry, "label": label, "kind": kind}
        for label, of_class in ((REAL, found["reals"]), (FAKE, found["fakes"]))
        for kind, entries in (
            ("source", of_class["sources"]),
            ("generator", of_class["generators"]),
        )
        for entry in entries
    ]
    return pd.DataFrame(rows, columns=list(CALLED_FAKE))


def tabulate_histories(
    folder: Path, backbones: Sequence[str], folds: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """`learning` and `sampler`: a line for each epoch of each member in `folder`.

    A member that was brought without its history is left out; the head of a frozen encoder was
    fitted in no epoch.
    """
    found, missing = [], []
    for backbone in backbones:
        for fold in folds:
            path = folder / backbone / str(fold) / "history.csv"
            if path.is_file():
                check_sums(path.with_name("train.sums.json"), f"train@{backbone}-{fold}", path.name)
                epochs = pd.read_csv(path)
                if len(epochs):
                    found.append(epochs.assign(backbone=backbone, fold=fold))
            else:
                missing.append(f"{backbone}-{fold}")
    if missing:
        _log.info("evaluate: no learning curves of %s: no history.csv", ", ".join(missing))
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    return {
        "learning": rows.reindex(columns=list(LEARNING)),
        "sampler": rows.reindex(columns=list(SAMPLER)),
    }


def tabulate_rows(evaluation: pd.DataFrame, has_review: bool) -> dict[str, pd.DataFrame]:
    """`score_histogram` and `confusion` of what ships, by the name of their file."""
    rows = evaluation[evaluation["headline"]]
    return {
        "score_histogram": tabulate_histogram(rows),
        "confusion": tabulate_confusion(rows, has_review),
    }


def tabulate_histogram(rows: pd.DataFrame) -> pd.DataFrame:
    """Bins of log-odds of equal width, and how many rows of each class lie in them."""
    scores = rows["score:stack"].to_numpy()
    low, high = np.quantile(scores, QUANTILES)
    if low == high:
        low, high = low - 1.0, high + 1.0
    edges = np.linspace(low, high, BINS + 1)
    counts = [
        np.histogram(np.clip(scores[rows["label"] == label], low, high), edges)[0]
        for label in (0, 1)
    ]
    return pd.DataFrame(dict(zip(HISTOGRAM, (edges[:-1], edges[1:], *counts), strict=True)))


def tabulate_confusion(rows: pd.DataFrame, has_review: bool) -> pd.DataFrame:
    """Rows by label (one line each) and answer (one column each)."""
    answers = [REAL, FAKE, *([REVIEW] if has_review else [])]
    counts = [
        {"label": name, **{a: int((own == a).sum()) for a in answers}}
        for name, own in (
            (name, rows["decision"][rows["label"] == label])
            for label, name in enumerate((REAL, FAKE))
        )
    ]
    return pd.DataFrame(counts)


def tabulate_evaluation(
    ensemble: SecondStage, uncalibrated: Mapping[str, Floats], val: Manifest, null_scores: Floats
) -> pd.DataFrame:
    """The table; `uncalibrated`: as `SecondStage.score_all` gives them, of all rows of `val`."""
    read = ensemble.rules.read_all(uncalibrated)
    answers = answer_rows(ensemble.rules, ensemble.shipped, uncalibrated[ensemble.shipped])
    known = take_columns(val, FROM_MANIFEST).reset_index(drop=True)
    return known.assign(
        headline=find_headline_rows(val),
        null_model=null_scores,
        **{f"score:{name}": scores for name, scores in read.items()},
        **{"score:stack": read[ensemble.shipped]},
        probability=answers["score"].to_numpy(),
        decision=answers["label"].to_numpy(),
    )


def tabulate_nothing(ensemble: SecondStage, val: Manifest) -> pd.DataFrame:
    """The same without rows, where `val` has none."""
    names = [f"{b}-{k}" for k in ensemble.folds for b in ensemble.backbones]
    uncalibrated = dict.fromkeys((*names, *ensemble.models), val.weights)
    return tabulate_evaluation(ensemble, uncalibrated, val, val.weights)


def write_evaluation(table: pd.DataFrame, path: Path) -> None:
    """Writes the table as Parquet, atomically."""
    with write_atomic(path) as file:
        rows = pa.Table.from_pandas(table, preserve_index=False)
        pq.write_table(rows.replace_schema_metadata(None), file, compression="zstd")


def read_evaluation(path: Path) -> pd.DataFrame:
    """Reads what `write_evaluation` wrote."""
    check_sums(path.with_name(SUMS), "evaluate", path.name)
    return pd.read_parquet(path)
