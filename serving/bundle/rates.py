"""What the rules that travel along did on val, from the project's `metrics.json`."""

import logging
from collections.abc import Mapping
from pathlib import Path

from features.core.sums import check_sums
from features.errors import StaleArtifactError
from serving.format.facts import RateFacts, ValRates
from stage2_ensemble.decisions.conformal import FAKE, REAL
from stage2_ensemble.fitted.ensemble import SecondStage
from stage2_ensemble.results.form import Promise, has_val
from stage2_ensemble.results.metrics_file import read_metrics
from stage2_ensemble.results.scores import read_interval

METRICS = Path("artifacts/metrics.json")
SUMS = "evaluate.sums.json"
_log = logging.getLogger("forgerystack")


def read_rates(second_stage: SecondStage, path: Path = METRICS) -> ValRates | None:
    """Raises `StaleArtifactError` for metrics of another second stage, or as `check_sums`."""
    if not path.is_file():
        _log.warning("bundle: no %s, so it does not say what its rules did on val", path)
        return None
    check_sums(path.with_name(SUMS), "evaluate", path.name)
    metrics = read_metrics(path)
    if not has_val(metrics):
        return None
    shipped = second_stage.shipped
    found = (metrics["val"]["shipped"], metrics["threshold"]["value"])
    wanted = (shipped, second_stage.rules.scorers[shipped].threshold.value)
    if found != wanted:
        old, new = (f"{name} with the threshold {value:.6g}" for name, value in (found, wanted))
        raise StaleArtifactError(path, old, new, "evaluate")
    return build_rates(metrics["promises"], **metrics["rows"]["val"])


def build_rates(promises: Mapping[str, Promise], reals: int, fakes: int) -> ValRates:
    """Those of the band of review where there is one, else those of the threshold."""
    rates = {name: _read_rate(promise) for name, promise in promises.items()}
    if f"{REAL}s_called_{FAKE}" in rates:
        return ValRates(
            reals=reals,
            fakes=fakes,
            reals_called_fake=rates[f"{REAL}s_called_{FAKE}"],
            fakes_called_real=rates[f"{FAKE}s_called_{REAL}"],
            reals_in_review=rates[f"{REAL}s_in_review"],
            fakes_in_review=rates[f"{FAKE}s_in_review"],
        )
    return ValRates(
        reals=reals,
        fakes=fakes,
        reals_called_fake=rates["fpr"],
        fakes_called_real=rates["tpr"].invert(),
        reals_in_review=None,
        fakes_in_review=None,
    )


def _read_rate(promise: Promise) -> RateFacts:
    value, low, high = read_interval(promise, "realised")
    assert value is not None
    return RateFacts(value=value, low=low, high=high)
