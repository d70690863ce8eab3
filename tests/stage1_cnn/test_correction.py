import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression

from features.train_params import Sampling
from stage1_cnn.correction import compute_shift
from stage1_cnn.samplers import build_batches


def make_labels(share, n=1000):
    return (np.arange(n) < share * n).astype(int)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.81])
def test_balanced_shift_is_the_log_odds_of_train(share):
    labels = make_labels(share)
    assert compute_shift(labels, np.ones(1000), Sampling()) == pytest.approx(logit(share))


@pytest.mark.parametrize("ratio", [0.25, 2.0])
def test_other_ratios_shift_from_the_share_drawn(ratio):
    shift = compute_shift(make_labels(0.8), np.ones(1000), Sampling(real_per_fake=ratio))
    assert shift == pytest.approx(logit(0.8) - np.log(1 / ratio))


def test_natural_sampling_needs_no_shift_and_row_weights_do():
    labels = make_labels(0.8)
    natural = Sampling(mode="natural")
    assert compute_shift(labels, np.ones(1000), natural) == pytest.approx(0)
    weights = np.where(labels == 1, 0.25, 1.0)
    assert compute_shift(labels, weights, natural) == pytest.approx(np.log(4))


@pytest.mark.parametrize("prevalence", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_shift_gives_the_bayes_log_odds_of_a_model_fitted_on_what_was_drawn(prevalence, ratio):
    rng = np.random.default_rng(0)
    labels = (rng.random(40_000) < prevalence).astype(int)
    x = rng.normal(labels * 2.0 - 1.0)  # log-odds of a unit normal at ±1 are 2x + logit(prevalence)
    sampling = Sampling(real_per_fake=ratio)
    batches = build_batches(labels, sampling, 1000, seed=0)
    rows = np.concatenate([batches.batch(step) for step in range(200)])
    model = LogisticRegression(C=1e6).fit(x[rows, None], labels[rows])
    shift = compute_shift(labels, np.ones(len(labels)), sampling)
    grid = np.linspace(-2, 2, 9)
    found = model.decision_function(grid[:, None]) + shift
    np.testing.assert_allclose(found, 2 * grid + logit(prevalence), atol=0.25)
