"""Alignment and uniformity against their formulas, by loops over pairs."""

import math
from itertools import combinations

import pytest
import torch

from features.settings.learning import Loss
from stage1_cnn.losses.hypersphere import measure_hypersphere

EMBEDDINGS = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 0, 1, 1, 0])
EVEN = torch.full((7,), 1 / 7, dtype=torch.float64)
ALIGNMENT, UNIFORMITY = Loss(alignment=1.0), Loss(uniformity=1.0)


def measure(settings, embeddings=EMBEDDINGS, targets=LABELS, weights=EVEN):
    return float(measure_hypersphere(settings, embeddings, targets, weights))


def list_distances(keep=lambda i, j: True):
    """Squared ones between directions."""
    unit = EMBEDDINGS / EMBEDDINGS.norm(dim=1, keepdim=True)
    return [float((unit[i] - unit[j]).square().sum()) for i, j in combinations(range(7), 2)
            if keep(i, j)]  # fmt: skip


def test_alignment_is_the_mean_squared_distance_of_directions_of_a_class():
    alike = list_distances(lambda i, j: LABELS[i] == LABELS[j])
    assert measure(ALIGNMENT) == pytest.approx(sum(alike) / len(alike))
    assert measure(Loss(alignment=0.3), 10 * EMBEDDINGS) == pytest.approx(0.3 * measure(ALIGNMENT))


def test_uniformity_is_the_log_of_the_mean_potential_of_all_pairs():
    potentials = [math.exp(-2 * d) for d in list_distances()]
    wanted = math.log(sum(potentials) / len(potentials))
    assert measure(UNIFORMITY) == pytest.approx(wanted)
    both = Loss(alignment=0.1, uniformity=0.5)
    assert measure(both) == pytest.approx(0.1 * measure(ALIGNMENT) + 0.5 * wanted)


@pytest.mark.parametrize("settings", [ALIGNMENT, UNIFORMITY])
def test_a_row_counts_in_pairs_as_it_does_in_the_loss(settings):
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    rest = weights > 0
    found = measure(settings, EMBEDDINGS[rest], LABELS[rest], EVEN[rest])
    assert measure(settings, weights=weights) == pytest.approx(found)


def test_weights_that_even_out_the_classes_do_so_for_their_pairs():
    """Of 3 reals and 4 fakes, each class with half of the weight: 3 and 6 pairs."""
    weights = torch.where(LABELS == 0, 1 / 6, 1 / 8).double()
    reals, fakes = (list_distances(lambda i, j, c=c: LABELS[i] == LABELS[j] == c) for c in (0, 1))
    share = sum(1 / 36 for _ in reals) / (sum(1 / 36 for _ in reals) + sum(1 / 64 for _ in fakes))
    wanted = share * sum(reals) / len(reals) + (1 - share) * sum(fakes) / len(fakes)
    assert measure(ALIGNMENT, weights=weights) == pytest.approx(wanted)


def test_of_mixed_labels_it_takes_the_chance_that_both_are_of_one_class():
    sure = torch.nn.functional.one_hot(LABELS, 2).double()
    assert measure(ALIGNMENT, targets=sure) == pytest.approx(measure(ALIGNMENT))
    mixed = torch.full((7, 2), 0.5, dtype=torch.float64)
    everything = list_distances()
    assert measure(ALIGNMENT, targets=mixed) == pytest.approx(sum(everything) / len(everything))


@pytest.mark.parametrize(("rows", "labels"), [(1, [0]), (2, [0, 1])])
def test_without_a_pair_it_is_nothing_and_so_is_its_gradient(rows, labels):
    embeddings = EMBEDDINGS[:rows].clone().requires_grad_()
    settings = ALIGNMENT if rows == 2 else Loss(alignment=1.0, uniformity=1.0)
    loss = measure_hypersphere(settings, embeddings, torch.tensor(labels), EVEN[:rows])
    loss.backward()
    assert loss == 0
    assert (embeddings.grad == 0).all()
