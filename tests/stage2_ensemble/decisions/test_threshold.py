"""Thresholds: each policy against brute force, with weights, other class shares and intervals."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit, logit
from scipy.stats import norm
from simulated_scores import as_choice, draw_choice

from features.settings.stacking import Decision
from stage2_ensemble.decisions.threshold import Threshold, choose_threshold, find_threshold

FEW = st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 3))
ROWS = st.lists(FEW, min_size=2, max_size=20)
POLICIES = [
    Decision(threshold="balanced_accuracy"),
    Decision(threshold="accuracy"),
    Decision(threshold="f1"),
    Decision(threshold="cost", cost_fake=3, cost_real=2),
    Decision(threshold="fpr", target=0.25),
    Decision(threshold="fpr", target=0.01),
    Decision(threshold="tpr", target=0.75),
]


def measure(rows, threshold: float) -> tuple[Fraction, Fraction]:
    """Exact weighted FPR and TPR."""
    rates = []
    for wanted in (0, 1):
        of_class = [(score, weight) for label, score, weight in rows if label == wanted]
        above = sum(weight for score, weight in of_class if score >= threshold)
        rates.append(Fraction(above, sum(weight for _, weight in of_class)))
    return rates[0], rates[1]


def rate(rows, threshold: float, decision: Decision, prior: Fraction) -> Fraction:
    """What the policy maximises, without rounding."""
    fpr, tpr = measure(rows, threshold)
    if decision.threshold == "balanced_accuracy":
        return tpr - fpr
    if decision.threshold == "accuracy":
        return prior * tpr + (1 - prior) * (1 - fpr)
    if decision.threshold == "f1":
        precision_and_recall = prior * tpr + (1 - prior) * fpr + prior
        return 2 * prior * tpr / precision_and_recall
    costs = Fraction(decision.cost_fake), Fraction(decision.cost_real)
    return -(costs[0] * prior * (1 - tpr) + costs[1] * (1 - prior) * fpr)


def find_by_brute_force(rows, decision: Decision, prior: Fraction) -> float:
    values = np.unique([score for _, score, weight in rows if weight]).astype(float)
    tried = [values[0], *((values[:-1] + values[1:]) / 2), np.nextafter(values[-1], np.inf)]
    if decision.threshold == "fpr":
        return min(t for t in tried if measure(rows, t)[0] <= Fraction(decision.target))
    if decision.threshold == "tpr":
        return max(t for t in tried if measure(rows, t)[1] >= Fraction(decision.target))
    rates = [rate(rows, t, decision, prior) for t in tried]
    return tried[rates.index(max(rates))]


@pytest.mark.parametrize("decision", POLICIES, ids=lambda d: f"{d.threshold}-{d.target}")
@settings(max_examples=120, deadline=None)
@given(rows=ROWS, prior=st.sampled_from([None, Fraction(1, 4), Fraction(4, 5)]))
def test_thresholds_against_brute_force(decision, rows, prior):
    labels, scores, weights = (np.array(v, float) for v in zip(*rows, strict=True))
    assume(all(weights[labels == label].sum() > 0 for label in (0, 1)))
    share = Fraction(int(weights[labels == 1].sum()), int(weights.sum()))
    wanted = find_by_brute_force(rows, decision, share if prior is None else prior)
    given_prior = None if prior is None else float(prior)
    found = find_threshold(labels.astype(np.int8), scores, decision, weights, given_prior)
    assert found == wanted


# --- policies on known scores: reals N(-1.5, 1), fakes N(1.5, 1), log-odds 3 x at equal shares

KNOWN = draw_choice(200_000, 0.81, seed=3)


def place(x: float) -> float:
    """Log-odds at train's shares of the score x."""
    return 3 * x + logit(0.81)


@pytest.mark.parametrize(
    ("decision", "prior", "wanted"),
    [
        (Decision(threshold="balanced_accuracy"), None, place(0)),
        (Decision(threshold="accuracy"), None, 0.0),
        (Decision(threshold="accuracy"), 0.6, logit(0.81) - logit(0.6)),
        (
            Decision(threshold="cost", cost_fake=10, cost_real=1),
            0.6,
            logit(0.81) - logit(0.6) - np.log(10),
        ),
        (Decision(threshold="fpr", target=0.01), None, place(norm.ppf(0.99) - 1.5)),
        (Decision(threshold="fpr", target=0.01), 0.3, place(norm.ppf(0.99) - 1.5)),
        (Decision(threshold="tpr", target=0.9), 0.3, place(1.5 - norm.ppf(0.9))),
    ],
    ids=["balanced", "accuracy", "accuracy at 0.6", "cost", "fpr", "fpr at 0.3", "tpr"],
)
def test_thresholds_stand_where_theory_has_them(decision, prior, wanted):
    found = choose_threshold(KNOWN, decision, prior, draws=60)
    assert found.value == pytest.approx(wanted, abs=0.2)
    assert found.low - 0.1 <= wanted <= found.high + 0.1
    assert found.high - found.low < 0.8


def test_rates_of_a_target():
    found = choose_threshold(KNOWN, Decision(threshold="fpr", target=0.01), draws=0)
    assert found.fpr.value == pytest.approx(0.01, abs=1e-4)
    assert found.fpr.value <= 0.01
    assert found.fpr.low < 0.01 < found.fpr.high
    found = choose_threshold(KNOWN, Decision(threshold="tpr", target=0.9), draws=0)
    assert 0.9 <= found.tpr.value < 0.9001
    assert (found.low, found.high, found.note) == (None, None, "")


def test_f1_wants_more_fakes_called_than_accuracy():
    rows = draw_choice(20_000, 0.2, distance=1.5)
    f1, accuracy = (
        choose_threshold(rows, Decision(threshold=p), draws=0) for p in ("f1", "accuracy")
    )
    assert f1.value < accuracy.value - 0.2


def test_only_policies_that_depend_on_class_shares_say_which():
    rows = draw_choice(500)
    for decision in POLICIES:
        found = choose_threshold(rows, decision, 0.6, draws=0)
        depends = decision.threshold in ("accuracy", "f1", "cost")
        assert found.prior == (0.6 if depends else None)


# --- intervals


def test_intervals_of_targets_hold_the_true_threshold():
    truth, held = place(norm.ppf(0.9) - 1.5), 0
    for seed in range(60):
        rows = draw_choice(1500, 0.5, seed=seed)
        rows = rows.with_log_odds(rows.log_odds + logit(0.81))
        found = choose_threshold(rows, Decision(threshold="fpr", target=0.1), draws=150)
        held += found.low <= truth <= found.high
    assert held >= 52


def test_a_group_counts_once():
    rows = draw_choice(300)
    copies = as_choice(*(np.repeat(v, 10) for v in (rows.labels, rows.log_odds, np.arange(300))))
    decision = Decision(threshold="tpr", target=0.8)
    alone, copied = (choose_threshold(r, decision, draws=300) for r in (rows, copies))
    assert copied.value == pytest.approx(alone.value)
    width = alone.high - alone.low
    assert copied.high - copied.low == pytest.approx(width, rel=0.2)


def test_one_group_of_a_class_leaves_out_samples_without_it():
    groups = np.concatenate([np.zeros(5, np.int64), np.arange(1, 21)])
    rows = as_choice(np.repeat([0, 1], [5, 20]), np.arange(25.0), groups)
    found = choose_threshold(rows, Decision(), draws=50)
    assert np.isfinite([found.low, found.high]).all()


# --- what a target asks of too few rows


@pytest.mark.parametrize(
    ("policy", "target", "kind"), [("fpr", 0.001, "reals"), ("tpr", 0.999, "fakes")]
)
def test_too_few_rows_for_a_target_are_named(policy, target, kind):
    rows = draw_choice(200, 0.5)
    found = choose_threshold(rows, Decision(threshold=policy, target=target), draws=0)
    assert f"{kind} are too few for a {policy} of {target:g}" in found.note
    rate = found.fpr if policy == "fpr" else found.tpr
    assert rate.value == (0 if policy == "fpr" else 1)


def test_equal_scores():
    rows = as_choice([0, 1, 1], np.full(3, 2.0))
    assert choose_threshold(rows, Decision(), draws=20).value == 2.0
    none = choose_threshold(rows, Decision(threshold="fpr", target=0.1), draws=20)
    assert none.value == np.nextafter(2.0, 3.0)
    assert none.call(rows.log_odds).sum() == 0


def test_one_class_has_no_threshold():
    with pytest.raises(ValueError, match="both classes"):
        find_threshold(np.ones(3, np.int8), np.zeros(3), Decision())


def test_round_trip():
    found = choose_threshold(draw_choice(300), Decision(threshold="fpr", target=0.1), draws=20)
    assert Threshold.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("prior", [0.2, 0.6, 0.9])
def test_a_given_score_is_the_threshold_at_the_share_of_the_rows_to_be_labelled(prior):
    rows = draw_choice(400, seed=1)
    threshold = choose_threshold(rows, Decision(threshold=0.5), prior)
    at_prior = expit(rows.log_odds + logit(prior) - logit(rows.prior))
    assert (threshold.call(rows.log_odds) == (at_prior >= 0.5)).all()
    assert (threshold.policy, threshold.target, threshold.low) == ("params.yaml", 0.5, None)
    assert Threshold.from_json(json.loads(json.dumps(threshold.to_json()))) == threshold
    reals = rows.labels == 0
    assert threshold.fpr.value == pytest.approx((at_prior[reals] >= 0.5).mean())


@pytest.mark.parametrize("value", [0, 1, -0.5, "half", True])
def test_a_score_outside_0_and_1_is_refused(value):
    with pytest.raises(ValidationError):
        Decision(threshold=value)


# --- the worst of several tiers


TIERS = st.lists(ROWS, min_size=2, max_size=3)


@given(tiers=TIERS, decision=st.sampled_from(POLICIES), prior=st.sampled_from([0.1, 0.5, 0.8]))
@settings(max_examples=300, deadline=None)
def test_the_threshold_is_the_best_one_for_the_worst_tier(tiers, decision, prior):
    for rows in tiers:
        assume({label for label, _, weight in rows if weight} == {0, 1})
    columns = ([np.array(c) for c in zip(*rows, strict=True)] for rows in tiers)
    clean, *others = (as_choice(labels, odds, weights=w) for labels, odds, w in columns)
    damaged = {f"tier {i}": rows for i, rows in enumerate(others)}
    found = choose_threshold(clean, decision, prior, draws=0, tiers=damaged)
    values = np.unique([score for rows in tiers for _, score, weight in rows if weight])
    tried = [values[0], *((values[:-1] + values[1:]) / 2), np.nextafter(values[-1], np.inf)]
    if decision.threshold == "fpr":
        target = Fraction(decision.target)
        kept = [t for t in tried if all(measure(rows, t)[0] <= target for rows in tiers)]
        assert found.value == min(kept)
    elif decision.threshold == "tpr":
        target = Fraction(decision.target)
        kept = [t for t in tried if all(measure(rows, t)[1] >= target for rows in tiers)]
        assert found.value == max(kept)
    else:
        worst = {t: min(rate(rows, t, decision, Fraction(prior)) for rows in tiers) for t in tried}
        assert float(worst[found.value]) == pytest.approx(float(max(worst.values())), abs=1e-9)


def test_a_target_holds_in_the_worst_tier_where_one_of_clean_rows_alone_did_not():
    clean = draw_choice(2000, seed=1)
    lifted = clean.with_log_odds(clean.log_odds + 3)  # as a damage that looks like a forgery
    decision = Decision(threshold="fpr", target=0.05)
    alone = choose_threshold(clean, decision, draws=0)
    called = alone.call(lifted.log_odds)[lifted.labels == 0]
    assert called.mean() > 0.2
    found = choose_threshold(clean, decision, draws=50, tiers={"web": lifted})
    assert found.tiers["web"].fpr.value <= 0.05
    assert found.fpr.value < 0.02
    assert found.low <= found.value <= found.high
    assert Threshold.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_tiers_that_are_the_rows_themselves_change_nothing():
    rows = draw_choice(300, seed=2)
    for decision in POLICIES:
        alone = choose_threshold(rows, decision, draws=0)
        found = choose_threshold(rows, decision, draws=0, tiers={"web": rows})
        assert found.value == alone.value
        assert found.tiers["web"] == (alone.fpr, alone.tpr)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"threshold": 0.5}, "no meaning for a threshold that is a score"),
        ({"review": 0.02}, "no meaning with review"),
        ({"tiers": ("web", "web")}, "stands there twice"),
    ],
)
def test_tiers_that_would_do_nothing_are_refused(values, told):
    with pytest.raises(ValidationError, match=told):
        Decision(**{"tiers": ("web",), **values})
