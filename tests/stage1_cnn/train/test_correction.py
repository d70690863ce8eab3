"""Corrected log-odds of the minimiser of each loss are the true ones, at several prevalences.

The population has 41 kinds of images. Its risk under draws, weights and loss is minimised over one
free log-odds a kind, with no network in between; what comes out and is corrected must be the
log-odds of the train rows.
"""

import numpy as np
import pytest
import torch
from scipy.special import logit
from scipy.stats import norm
from small_task import make_settings

from features.core.members import Correction
from features.settings.learning import Augment, Loss, Sampling, Schedule
from stage1_cnn.sampling.samplers import Candidates, build_batches, weigh_draws
from stage1_cnn.train.correction import build_member_loss, compute_correction

KINDS = np.linspace(-2, 2, 41)
ROWS = 2000


def make_candidates(prevalence, draw_weights=None):
    labels = (np.arange(ROWS) < prevalence * ROWS).astype(np.int8)
    return Candidates(labels, draw_weights)


def minimise(settings, candidates, weights):
    """Raw log-odds `(41,)` that minimise the risk of the population."""
    loss = build_member_loss(settings, candidates, weights)
    mass = weigh_draws(candidates, settings.sampling) * weights
    density = np.stack([norm.pdf(KINDS, -1), norm.pdf(KINDS, 1)])
    density /= density.sum(1, keepdims=True)
    drawn = [mass[candidates.labels == c].sum() for c in (0, 1)]
    weighed = torch.tensor((density * np.array(drawn)[:, None]).ravel())
    targets = torch.arange(2).repeat_interleave(len(KINDS))
    counted = loss.row_weights(targets, weighed, 1)
    odds = torch.zeros(len(KINDS), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([odds], max_iter=2000, tolerance_grad=1e-14, tolerance_change=1e-16,
                               history_size=50, line_search_fn="strong_wolfe")  # fmt: skip

    def close():
        solver.zero_grad()
        logits = torch.stack([-odds / 2, odds / 2], 1).repeat(2, 1)
        risk = (loss.measure(logits, targets) * counted).sum()
        risk.backward()
        return risk

    for _ in range(5):
        solver.step(close)
    return odds.detach().numpy(), density


LOSSES = {
    "cross_entropy": Loss(),
    "balanced": Loss(class_weight="balanced"),
    "effective": Loss(class_weight="effective", effective_beta=0.999),
    "heavy_reals": Loss(class_weight=7.0),
    "light_reals": Loss(kind="focal", gamma=1.0, class_weight=0.2),
    "focal": Loss(kind="focal", gamma=2.0),
    "focal_alpha": Loss(kind="focal", gamma=1.0, alpha=0.25),
    "focal_weak": Loss(kind="focal", gamma=0.5, class_weight="balanced"),
    "logit_adjusted": Loss(kind="logit_adjusted", tau=1.5),
    "logit_adjusted_weighted": Loss(kind="logit_adjusted", class_weight="effective"),
    "class_mean": Loss(kind="class_mean"),
}
SAMPLINGS = {
    "natural": Sampling(mode="natural"),
    "balanced": Sampling(),
    "ratio": Sampling(real_per_fake=0.25),
    "undersample": Sampling(mode="undersample", real_per_fake=2.0),
}


@pytest.mark.parametrize("prevalence", [0.05, 0.4, 0.81])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_corrected_minimisers_are_the_log_odds_of_train(loss, sampling, prevalence):
    schedule = Schedule(batch_size=ROWS)  # none lacks a class
    settings = make_settings(loss=loss, sampling=sampling, schedule=schedule)
    candidates, weights = make_candidates(prevalence), np.ones(ROWS)
    raw, density = minimise(settings, candidates, weights)
    correction = compute_correction(settings, candidates, weights)
    expected = np.log(density[1] / density[0]) + logit(prevalence)
    assert not correction.approximate
    np.testing.assert_allclose(correction.apply(raw), expected, atol=2e-3)


@pytest.mark.parametrize("prevalence", [0.1, 0.81])
def test_weights_by_class_are_undone_in_draws_and_loss_alike(prevalence):
    labels = make_candidates(prevalence).labels
    heavy, rare = np.where(labels == 1, 0.3, 1.0), np.where(labels == 1, 1.0, 7.0)
    candidates = make_candidates(prevalence, draw_weights=rare)
    settings = make_settings(sampling=Sampling(mode="weighted"))
    raw, density = minimise(settings, candidates, heavy)
    correction = compute_correction(settings, candidates, heavy)
    expected = np.log(density[1] / density[0]) + logit(prevalence)
    assert not correction.approximate
    np.testing.assert_allclose(correction.apply(raw), expected, atol=2e-3)


UNEVEN = {
    "natural": Sampling(mode="natural"),
    "weighted": Sampling(mode="weighted"),
    "rare": Sampling(real_per_fake=0.01),
}


@pytest.mark.parametrize("sampling", UNEVEN.values(), ids=UNEVEN)
@pytest.mark.parametrize(
    ("loss", "off"),
    [
        (Loss(class_weight="balanced"), 0.002),
        (Loss(kind="focal", class_weight=7.0), 0.002),
        (Loss(kind="class_mean"), 0.02),  # it is chance how many batches lack a class
    ],
    ids=["balanced", "heavy_reals", "class_mean"],
)
def test_classes_weigh_in_batches_what_the_correction_says(loss, off, sampling):
    """With 2 % reals, so that some batches of 32 have none and others three."""
    labels, size = make_candidates(0.98).labels, 32
    weights = np.where(labels == 1, 1.5, 0.5)
    candidates = Candidates(labels, draw_weights=np.where(labels == 1, 1.0, 1.5))
    settings = make_settings(loss=loss, sampling=sampling, schedule=Schedule(batch_size=size))
    built = build_member_loss(settings, candidates, weights)
    batches, sums = build_batches(candidates, sampling, size, seed=0), np.zeros(2)
    for step in range(2000):
        rows = batches.batch(step)
        targets = torch.from_numpy(labels[rows].astype(np.int64))
        counted = built.row_weights(targets, torch.from_numpy(weights[rows]), size).numpy()
        sums += np.bincount(labels[rows], counted, minlength=2)
    assert sums.sum() / 2000 == pytest.approx(1, abs=0.005)
    assert sums[1] / sums.sum() == pytest.approx(built.prevalence, abs=off)


@pytest.mark.parametrize(("size", "approximate"), [(32, True), (1500, False)])
def test_class_mean_is_approximate_where_batches_lack_a_class(size, approximate):
    settings = make_settings(
        loss=Loss(kind="class_mean"),
        sampling=Sampling(mode="natural"),
        schedule=Schedule(batch_size=size),
    )
    correction = compute_correction(settings, make_candidates(0.98), np.ones(ROWS))
    assert correction.approximate is approximate


@pytest.mark.parametrize("chance", [0.2, 0.5])
def test_self_blended_reals_count_as_fakes(chance):
    settings = make_settings(augment=Augment(self_blend=chance))
    correction = compute_correction(settings, make_candidates(0.8), np.ones(ROWS))
    assert correction.shift == pytest.approx(logit(0.8) - logit(0.5 + 0.5 * chance))
    assert correction.approximate


@pytest.mark.parametrize(
    "changes",
    [
        {"augment": Augment(mixup=0.5)},
        {"augment": Augment(cutmix=0.5)},
        {"loss": Loss(label_smoothing=0.1)},
    ],
)
def test_what_changes_more_than_shares_is_marked_approximate(changes):
    correction = compute_correction(make_settings(**changes), make_candidates(0.8), np.ones(ROWS))
    assert correction.approximate
    assert correction.shift == pytest.approx(logit(0.8))


def test_weights_that_differ_within_a_class_are_marked_approximate():
    weights = np.linspace(0.5, 1.5, ROWS)
    assert compute_correction(make_settings(), make_candidates(0.8), weights).approximate


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_map_is_strictly_increasing_from_end_to_end(gamma):
    raw = np.concatenate([np.linspace(-700, 700, 20_001), np.linspace(-2, 2, 2_001)])
    raw = np.unique(raw.astype(np.float32)).astype(np.float64)
    corrected = Correction(shift=-1.3, gamma=gamma).apply(raw)
    assert np.isfinite(corrected).all()
    assert (np.diff(corrected) > 0).all()


def test_the_map_is_odd_but_for_its_shift_and_leaves_plain_logits_alone():
    raw = np.array([-600.0, -30.0, -1.0, 0.0, 0.5])
    focal = Correction(gamma=2.0)
    np.testing.assert_allclose(focal.apply(raw), -focal.apply(-raw), atol=1e-9)
    np.testing.assert_array_equal(Correction(shift=0.5).apply(raw), raw + 0.5)


def test_focal_answers_are_pushed_outwards():
    assert abs(Correction(gamma=2.0).apply(1.0)) > 1.0


def test_auc_of_a_member_is_unchanged():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 5000)
    raw = (rng.normal(size=5000) * 5 + labels * 4).astype(np.float32)
    corrected = Correction(shift=-1.5, gamma=2.0).apply(raw)
    assert roc_auc_score(labels, corrected) == roc_auc_score(labels, raw)
