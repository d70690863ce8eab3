"""Maps of log-odds: against scikit-learn, strictly increasing, finite, kept as JSON."""

import json

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from simulated_scores import draw_choice
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.utils.fixes import parse_version

from stage2_ensemble.decisions.calibrators import CALIBRATORS, Isotonic, Platt, Temperature

HAS_TEMPERATURE = parse_version(sklearn.__version__) >= parse_version("1.8")


def fit(kind, labels, odds, weights=None):
    weights = np.ones(len(labels)) if weights is None else weights
    return kind().fit(np.asarray(odds, float), np.asarray(labels, np.int8), weights)


class Scores(ClassifierMixin, BaseEstimator):
    """A classifier that answers with its only column."""

    classes_ = np.array([0, 1])

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def decision_function(self, X):
        return X[:, 0]

    def predict(self, X):
        return (X[:, 0] > 0).astype(int)


def fit_peer(method: str, rows, weights) -> np.ndarray:
    column = rows.log_odds[:, None]
    frozen = FrozenEstimator(Scores().fit(column, rows.labels))
    peer = CalibratedClassifierCV(frozen, method=method)
    return peer.fit(column, rows.labels, weights).predict_proba(column)[:, 1]


@pytest.mark.skipif(not HAS_TEMPERATURE, reason="scikit-learn has no temperature before 1.8")
@pytest.mark.filterwarnings("ignore:Since FrozenEstimator")
@pytest.mark.parametrize("kind", [Temperature, Platt], ids=lambda k: k.name)
def test_lines_are_scikit_learns(kind):
    rows = draw_choice(5000)
    rows = rows.with_log_odds(2.5 * rows.log_odds - 1)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, 5000)
    weights /= weights.mean()
    method = {"temperature": "temperature", "platt": "sigmoid"}[kind.name]
    ours = expit(fit(kind, rows.labels, rows.log_odds, weights).apply(rows.log_odds))
    wanted = fit_peer(method, rows, weights)
    # Platt's softened labels, which scikit-learn's temperature does without, move it a little.
    assert ours == pytest.approx(wanted, abs=1e-4 if kind is Platt else 4e-3)


def test_lines_find_what_was_done_to_the_scores():
    rows = draw_choice(50_000)
    assert fit(Temperature, rows.labels, 3 * rows.log_odds).temperature_ == pytest.approx(3, 0.03)
    line = fit(Platt, rows.labels, 3 * rows.log_odds + 2)
    assert line.slope_ == pytest.approx(1 / 3, 0.03)
    assert line.intercept_ == pytest.approx(-2 / 3, abs=0.05)


@pytest.mark.parametrize("kind", CALIBRATORS.values(), ids=CALIBRATORS)
def test_json_round_trip_is_exact(kind):
    rows = draw_choice(400)
    fitted = fit(kind, rows.labels, rows.log_odds)
    back = kind.from_json(json.loads(json.dumps(fitted.to_json())))
    new = np.linspace(-40, 40, 500)
    np.testing.assert_array_equal(back.apply(new), fitted.apply(new))


LABELLED = st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5)), min_size=2, max_size=30)
LABELLED = LABELLED.filter(lambda rows: len({label for label, _ in rows}) == 2)


@pytest.mark.parametrize("kind", CALIBRATORS.values(), ids=CALIBRATORS)
@settings(max_examples=60, deadline=None)
@given(rows=LABELLED, scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_maps_are_finite_and_strictly_increasing(kind, rows, scale):
    labels, odds = np.array(rows).T
    fitted = fit(kind, labels, odds * scale)
    mapped = fitted.apply(np.linspace(-12, 12, 300) * scale)
    assert np.isfinite(mapped).all()
    assert (np.diff(mapped) > 0).all()


@pytest.mark.parametrize("kind", CALIBRATORS.values(), ids=CALIBRATORS)
def test_no_auc_changes(kind):
    rows = draw_choice(5000, distance=1.5)
    mapped = fit(kind, rows.labels, rows.log_odds).apply(rows.log_odds)
    assert roc_auc_score(rows.labels, mapped) == roc_auc_score(rows.labels, rows.log_odds)


@pytest.mark.parametrize("kind", CALIBRATORS.values(), ids=CALIBRATORS)
def test_separable_rows_give_no_certainty(kind):
    labels, odds = np.repeat([0, 1], 100), np.repeat([-1.0, 1.0], 100)
    mapped = fit(kind, labels, odds).apply(np.array([-1.0, 1.0]))
    assert (np.abs(mapped) < 7).all()  # a hundred rows without a fault: not below 1 in 1000


@pytest.mark.parametrize("kind", CALIBRATORS.values(), ids=CALIBRATORS)
def test_weights_count_and_their_scale_does_not(kind):
    rows = draw_choice(2000)
    counts = np.random.default_rng(0).integers(0, 4, 2000)
    new = np.linspace(-5, 8, 50)
    there = fit(kind, rows.labels[counts > 0], rows.log_odds[counts > 0]).apply(new)
    masked = fit(kind, rows.labels, rows.log_odds, (counts > 0).astype(float))
    assert masked.apply(new) == pytest.approx(there, abs=1e-6)
    weighted = fit(kind, rows.labels, rows.log_odds, counts + 1.0).apply(new)
    scaled = fit(kind, rows.labels, rows.log_odds, 1e-6 * (counts + 1))
    assert scaled.apply(new) == pytest.approx(weighted, abs=1e-6)
    # A row that weighs twice is two rows, but for how soft the ends are.
    repeated = fit(kind, *(np.repeat(v, counts + 1) for v in (rows.labels, rows.log_odds)))
    assert weighted == pytest.approx(repeated.apply(new), abs=1.0 if kind is Isotonic else 0.2)


def test_isotonic_by_hand():
    odds = np.repeat([0.0, 1.0, 2.0], 10)
    labels = np.concatenate([np.arange(10) < 2, np.arange(10) < 1, np.arange(10) < 9])
    fitted = fit(Isotonic, labels, odds)  # the first two scores are out of order
    assert fitted.scores_ == pytest.approx([0.5, 2.0])
    assert fitted.odds_ == pytest.approx(logit([4 / 22, 10 / 12]))
    assert fitted.apply(np.array([1.25]))[0] == pytest.approx(logit([4 / 22, 10 / 12]).mean())
    beyond = fitted.apply(np.array([2.0, 3.0]))
    assert 0 < beyond[1] - beyond[0] < 0.01


def test_smoothing_puts_no_knots_out_of_order():
    labels = np.concatenate([np.arange(1000) >= 10, [1]])  # 99 % of a thousand, then one of one
    odds = np.concatenate([np.zeros(1000), [5.0]])
    fitted = fit(Isotonic, labels, odds)
    assert (np.diff(fitted.odds_) > 0).all()
    assert expit(fitted.apply(np.array([0.0]))[0]) == pytest.approx(0.99, abs=0.005)


@pytest.mark.parametrize("kind", [Temperature, Platt, Isotonic], ids=lambda k: k.name)
def test_scores_the_wrong_way_round_keep_their_order_and_say_next_to_nothing(kind):
    rows = draw_choice(3000)
    fitted = fit(kind, rows.labels, -rows.log_odds)
    assert np.ptp(fitted.apply(np.array([-3.0, 3.0]))) < 0.05
