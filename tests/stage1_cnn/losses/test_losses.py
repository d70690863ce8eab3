"""Each loss against its closed form, and batches whose slices add up to the whole."""

from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.special import expit, log_expit, logit

from features.settings.learning import LOSS_KINDS, Loss, LossName
from stage1_cnn.losses.class_weights import ClassTotals, compute_class_weights
from stage1_cnn.losses.registry import LOSSES, build_loss

LOGITS = torch.tensor([[0.3, 1.2], [2.0, -1.0], [-0.5, 0.1], [0.0, 4.0]], dtype=torch.float64)
LABELS = torch.tensor([1, 0, 0, 1])
WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 1.0], dtype=torch.float64)
Z = (LOGITS[:, 1] - LOGITS[:, 0]).numpy()
Y = LABELS.numpy()
CHANCE = np.where(Y == 1, expit(Z), expit(-Z))
"""What the network gives to the true class."""


def total(reals, fakes, masses=(0.5, 0.5), **changes):
    return ClassTotals((reals, fakes), (float(reals), float(fakes)), masses, **changes)


EVEN = total(50, 50)


def build(kind="cross_entropy", totals=EVEN, **changes):
    return build_loss(Loss(kind=kind, **changes), totals)


def measure(kind, **changes):
    return build(kind, **changes).measure(LOGITS, LABELS).numpy()


def test_each_loss_that_can_be_asked_for_has_its_class():
    assert list(LOSSES) == list(LOSS_KINDS) == list(get_args(LossName))


@pytest.mark.parametrize("kind", LOSSES)
def test_each_loss_is_least_where_the_answer_is_right(kind):
    right, wrong = (torch.tensor([[0.0, odds]] * 2) for odds in (5.0, -5.0))
    fakes, weights = torch.ones(2, dtype=torch.long), torch.ones(2)
    loss = build(kind, total(20, 80, (0.2, 0.8)))
    counted = loss.row_weights(fakes, weights, 2)
    costs = [float((loss.measure(x, fakes) * counted).sum()) for x in (right, wrong)]
    assert costs[0] < 0.1 < 1 < costs[1]


def test_cross_entropy_is_minus_the_log_of_the_true_class():
    np.testing.assert_allclose(measure("cross_entropy"), -np.log(CHANCE))
    np.testing.assert_allclose(measure("class_mean"), -np.log(CHANCE))


def test_label_smoothing_mixes_in_the_mean_over_both_classes():
    both = -(log_expit(Z) + log_expit(-Z)) / 2
    expected = 0.9 * -np.log(CHANCE) + 0.1 * both
    np.testing.assert_allclose(measure("cross_entropy", label_smoothing=0.1), expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_loss_is_that_of_the_paper(gamma, alpha):
    weight = 1.0 if alpha is None else np.where(Y == 1, alpha, 1 - alpha)
    expected = -weight * (1 - CHANCE) ** gamma * np.log(CHANCE)
    np.testing.assert_allclose(measure("focal", gamma=gamma, alpha=alpha), expected)


@pytest.mark.parametrize("tau", [0.5, 1.0, 1.5])
def test_logit_adjustment_adds_the_classes_log_odds_inside_the_loss_alone(tau):
    loss = build("logit_adjusted", total(20, 80, (0.2, 0.8)), tau=tau)
    odds = Z + tau * logit(0.8)
    expected = -np.where(Y == 1, log_expit(odds), log_expit(-odds))
    np.testing.assert_allclose(loss.measure(LOGITS, LABELS).numpy(), expected)


def test_soft_labels_cost_their_fraction_of_each_class():
    soft = torch.tensor([[0.25, 0.75]] * 4, dtype=torch.float64)
    found = build().measure(LOGITS, soft).numpy()
    np.testing.assert_allclose(found, -0.75 * log_expit(Z) - 0.25 * log_expit(-Z))


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1], [30, 170])
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    found = compute_class_weights(Loss(class_weight="balanced"), total(30, 170))
    np.testing.assert_allclose(found, expected)


def test_balanced_classes_weigh_the_same_with_their_rows_own_weights():
    totals = ClassTotals(images=(30, 170), weights=(15.0, 425.0), masses=(0.075, 2.125))
    loss = build(totals=totals, class_weight="balanced")
    real, fake = loss.class_weights
    assert real * 15 == pytest.approx(fake * 425)
    assert loss.prevalence == pytest.approx(0.5)


def test_effective_numbers_are_those_of_the_paper():
    loss = Loss(class_weight="effective", effective_beta=0.99)
    real, fake = compute_class_weights(loss, total(99_386, 50))
    numbers = [(1 - 0.99**n) / (1 - 0.99) for n in (99_386, 50)]
    assert fake / real == pytest.approx(numbers[0] / numbers[1])
    assert (real * 99_386 + fake * 50) / 99_436 == pytest.approx(1)


@pytest.mark.parametrize(("beta", "ratio"), [(1e-6, 1.0), (1 - 1e-12, 425_043 / 99_386)])
def test_effective_weights_lie_between_none_and_balanced(beta, ratio):
    loss = Loss(class_weight="effective", effective_beta=beta)
    real, fake = compute_class_weights(loss, total(99_386, 425_043))
    assert real / fake == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("asked", [0.25, 1.0, 6.0])
def test_a_number_is_what_a_real_counts_beside_a_fake(asked):
    real, fake = compute_class_weights(Loss(class_weight=asked), total(30, 170))
    assert real / fake == pytest.approx(asked)
    assert (30 * real + 170 * fake) / 200 == pytest.approx(1)


def test_rows_count_by_their_weight_and_that_of_their_class():
    loss = build(totals=total(1, 3, (0.5, 1.0)), class_weight="balanced")
    assert loss.class_weights == pytest.approx((2, 2 / 3))
    counted = loss.row_weights(LABELS, WEIGHTS, 4).numpy()
    expected = 4 * (0.5 * 2 + 1.0 * 2 / 3)  # of any batch, whatever is in this one
    np.testing.assert_allclose(counted, np.array([2 / 3, 4, 1, 2 / 3]) / expected)


def test_class_mean_gives_half_to_each_class_whatever_its_rows_weigh():
    loss = build("class_mean")
    counted = loss.row_weights(LABELS, WEIGHTS, 4).numpy()
    np.testing.assert_allclose(counted, [0.25, 0.4, 0.1, 0.25])
    fakes = torch.ones(4, dtype=torch.long)
    only_fakes = loss.row_weights(fakes, WEIGHTS, 4)
    np.testing.assert_allclose(only_fakes.numpy(), WEIGHTS.numpy() / WEIGHTS.sum().item())


@pytest.mark.parametrize("kind", LOSSES)
def test_row_weights_of_a_batch_like_all_draws_add_up_to_one(kind):
    weighs = LOSS_KINDS[kind].weighs_classes
    loss = build(kind, total(20, 80, (2.5 / 4, 2.0 / 4)), class_weight=3.0 if weighs else "none")
    assert loss.row_weights(LABELS, WEIGHTS, 4).sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "focal", "label_smoothing": 0.1}, "no meaning for focal"),
        ({"kind": "class_mean", "class_weight": "balanced"}, "changes nothing in class_mean"),
        ({"kind": "class_mean", "class_weight": 2.0}, "changes nothing in class_mean"),
        ({"class_weight": 0}, "greater than 0"),
        ({"class_weight": "heavy"}, "effective"),
        ({"kind": "hinge"}, "cross_entropy"),
        ({"alpha": 1.0}, "less than 1"),
    ],
)
def test_losses_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Loss(**changes)
