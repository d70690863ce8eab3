"""Promised against realised: what was chosen on rows of train, measured on val.

A limit is `kept`, `missed by chance` or `missed`; a value is `kept` or `differs`. Chance is that of
which rows stand in val and, for shares, of which rows the promise was made on, at 95 %. Nothing is
chosen here.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import betaincinv, logit

from features.core.auc import LEVEL
from stage2_ensemble.decisions.conformal import FAKE, REAL, REVIEW, Band, count_allowed
from stage2_ensemble.decisions.prior_shift import Prior
from stage2_ensemble.decisions.scored_rows import ValRows
from stage2_ensemble.decisions.threshold import Threshold
from stage2_ensemble.measures.calibration_line import PROMISED, judge_line
from stage2_ensemble.measures.reliability import find_bins, measure_ece, simulate_ece
from stage2_ensemble.measures.resampling import find_bounds, index_groups, measure_resamples
from stage2_ensemble.measures.shares import Share, estimate_share

DRAWS = 400
KEPT, BY_CHANCE, MISSED, DIFFERS = "kept", "missed by chance", "missed", "differs"
PromiseValues = dict[str, Any]


def check_promises(
    val: ValRows,
    threshold: Threshold,
    prior: Prior,
    band: Band | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, PromiseValues]:
    """Each promise by name: `title`, `promised` with the `sense` (at most, at least, or none) and,
    where it has one, its own interval, `realised`, `realised_low`, `realised_high`, `verdict`.

    `val` has calibrated log-odds at the class shares of train; `prior` is what probabilities of val
    rows assume (estimated without their labels, if at all). `fpr`, `tpr` and the band are about
    log-odds as they are; `prior`, `intercept`, `slope` and `ece` about log-odds at `prior`, and
    `ece_own_shares` about log-odds at val's own shares: what is wrong beside the prior. Intervals
    count groups; those of shares are `estimate_share`'s, those of lines `judge_line`'s, those of
    calibration errors from `draws` bootstrap samples.
    """
    entries = {
        "prior": _check_prior(val, prior),
        **_check_rates(val, threshold),
        **_check_line(val, prior),
        **_check_errors(val, prior, draws, seed),
    }
    return entries | (_check_band(val, band) if band else {})


def _check_prior(val: ValRows, prior: Prior) -> PromiseValues:
    share = estimate_share(val.labels == 1, val.groups)
    if prior.source != "estimate":
        return _compare("share of fakes", Share(prior.value), share)
    return _compare("share of fakes", Share(prior.value, prior.em_low, prior.em_high), share)


def check_tier(val: ValRows, threshold: Threshold, tier: str) -> dict[str, PromiseValues]:
    """What the threshold promised of one of its tiers, by `fpr_<tier>` and `tpr_<tier>`.

    `val` has calibrated log-odds of damaged files, at the class shares of train.
    """
    rates = threshold.tiers[tier]
    entries = _check_rates(val, replace(threshold, fpr=rates.fpr, tpr=rates.tpr))
    return {
        f"{name}_{tier}": {**entry, "title": f"{entry['title']}, {tier}"}
        for name, entry in entries.items()
    }


def _check_rates(val: ValRows, threshold: Threshold) -> dict[str, PromiseValues]:
    """The policy's own rate has to reach its target, the other one what it was."""
    called = threshold.call(val.log_odds) == 1
    entries = {}
    for name, label in (("fpr", 0), ("tpr", 1)):
        of_class = val.labels == label
        share = estimate_share(called[of_class], val.groups[of_class])
        text = f"{name.upper()} at the threshold"
        if threshold.policy != name:
            entries[name] = _compare(text, getattr(threshold, name), share)
        else:
            assert threshold.target is not None
            side = 1 if name == "fpr" else -1
            slack = _reach(getattr(threshold, name), side)
            entries[name] = _bound(text, side, threshold.target, slack, share)
    return entries


def _check_line(val: ValRows, prior: Prior) -> dict[str, PromiseValues]:
    entries = {}
    for name, part in judge_line(val.labels, prior.apply(val.log_odds), val.groups).items():
        found = Share(part.value, part.low, part.high)
        verdict = KEPT if part.holds else DIFFERS
        title = f"calibration {name}"
        entries[name] = _build_entry(title, Share(PROMISED[name]), found, verdict)
    return entries


def _check_errors(val: ValRows, prior: Prior, draws: int, seed: int) -> dict[str, PromiseValues]:
    share = float(val.labels.mean())
    own = val.log_odds + (logit(share) - logit(prior.train))
    cases = {
        "ece": ("calibration error", prior.apply(val.log_odds)),
        "ece_own_shares": ("calibration error at val's own class shares", own),
    }
    return {
        name: _check_error(text, val.with_log_odds(odds), draws, seed)
        for name, (text, odds) in cases.items()
    }


def _check_error(text: str, val: ValRows, draws: int, seed: int) -> PromiseValues:
    """`by_chance` is how large an ECE chance alone makes on these rows, 39 times of 40: the larger
    of resampled residuals, which depend within groups, and of labels drawn from the probabilities,
    which tell of errors too rare to be among these rows.
    """
    groups = index_groups(val.labels, val.groups)
    bins = find_bins(val.log_odds)
    value = measure_ece(val.labels, val.log_odds, bins)
    drawn = measure_resamples(val.labels, val.log_odds, groups, 0.0, draws, seed)
    low, high = find_bounds("ece", value, drawn, groups.least)
    noises = drawn.noise, simulate_ece(val.log_odds, bins, draws, seed)
    limit = max(float(np.quantile(noise, (1 + LEVEL) / 2)) for noise in noises)
    is_kept = value <= limit
    found = Share(value, 0.0 if is_kept and low is not None else low, high)
    verdict = KEPT if is_kept else MISSED
    return _build_entry(text, Share(0.0), found, verdict) | {"by_chance": limit}


def _check_band(val: ValRows, band: Band) -> dict[str, PromiseValues]:
    answers = band.decide(val.log_odds)
    may_be_real, may_be_fake = band.find_sets(val.log_odds)
    entries = {}
    for label, kind, wrong, covered, reviewed, count in (
        (0, REAL, FAKE, may_be_real, band.reviewed_reals, band.reals),
        (1, FAKE, REAL, may_be_fake, band.reviewed_fakes, band.fakes),
    ):
        of_class = val.labels == label
        groups, given = val.groups[of_class], answers[of_class]
        error, left, cover = (
            estimate_share(hits, groups)
            for hits in (given == wrong, given == REVIEW, covered[of_class])
        )
        slack = _find_slack(count, band.alpha)
        names = f"{kind}s_called_{wrong}", f"{kind}s_covered"
        entries[names[0]] = _bound(f"{kind}s called {wrong}", 1, band.alpha, slack, error)
        entries[names[1]] = _bound(f"coverage of {kind}s", -1, 1 - band.alpha, slack, cover)
        entries[f"{kind}s_in_review"] = _compare(f"{kind}s left to review", reviewed, left)
    return entries


def _find_slack(groups: int, alpha: float) -> float:
    """By how much a band's own error may be above `alpha` for the rows that it was fitted on."""
    allowed = count_allowed(groups, alpha)
    return max(0.0, float(betaincinv(allowed, groups + 1 - allowed, (1 + LEVEL) / 2)) - alpha)


def _bound(text: str, side: int, promised: float, slack: float, found: Share) -> PromiseValues:
    """A promise of at most (`side` 1) or at least (-1) so much."""
    assert found.value is not None
    excess = side * (found.value - promised)
    if excess <= 0:
        verdict = KEPT
    else:
        verdict = BY_CHANCE if excess <= np.hypot(_reach(found, -side), slack) else MISSED
    sense = "at most" if side > 0 else "at least"
    return _build_entry(text, Share(promised), found, verdict, sense)


def _compare(text: str, promised: Share, found: Share) -> PromiseValues:
    """A promise of a value, which may have an interval of its own.

    It is kept if 0 lies in the difference's (Zou and Donner, Statistics in Medicine 27, 2008).
    """
    assert found.value is not None
    assert promised.value is not None
    gap = found.value - promised.value
    side = 1 if gap > 0 else -1
    kept = abs(gap) <= np.hypot(_reach(found, -side), _reach(promised, side))
    verdict = KEPT if kept else DIFFERS
    return _build_entry(text, promised, found, verdict)


def _reach(share: Share, side: int) -> float:
    """How far the interval goes below (-1) or above (1)."""
    bound = share.low if side < 0 else share.high
    return 0.0 if bound is None or share.value is None else abs(bound - share.value)


def _build_entry(
    title: str, promised: Share, found: Share, verdict: str, sense: str = ""
) -> PromiseValues:
    own = {"promised": promised.value, "promised_low": promised.low, "promised_high": promised.high}
    bounds = {"realised": found.value, "realised_low": found.low, "realised_high": found.high}
    return {"title": title, "sense": sense, **own, **bounds, "verdict": verdict}
