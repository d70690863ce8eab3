import numpy as np
import pytest
import torch

from features.settings.learning import Augment
from stage1_cnn.augment.mixing import mix_batch

SIDE = 20
MIXES = [{"mixup": 1.0, "mixup_alpha": 1.0}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 0.5}]


def mix(changes, step, count=12):
    """Fakes are white and reals are black: the mean of a picture is its share of fake."""
    labels = torch.arange(count) % 2
    images = labels.float()[:, None, None, None].repeat(1, 3, SIDE, SIDE)
    return mix_batch(images, labels, Augment(**changes), seed=5, step=step)


@pytest.mark.parametrize("changes", MIXES, ids=["mixup", "cutmix", "both"])
def test_targets_are_the_shares_of_the_pictures(changes):
    mixed = 0
    for step in range(10):
        images, targets = mix(changes, step)
        torch.testing.assert_close(targets.sum(1), torch.ones(12))
        torch.testing.assert_close(images.mean((1, 2, 3)), targets[:, 1], atol=1e-5, rtol=0)
        mixed += ((targets > 0.01) & (targets < 0.99)).any(1).sum()
    assert mixed > 20


def test_cutmix_pastes_boxes_and_mixup_fades():
    pasted = torch.stack([mix(MIXES[1], step)[0] for step in range(5)])
    assert set(pasted.unique().tolist()) == {0.0, 1.0}
    faded = torch.stack([mix(MIXES[0], step)[0] for step in range(5)])
    assert torch.equal(faded.amax((3, 4)), faded.amin((3, 4)))


def test_pairs_are_not_those_of_the_samplers_pattern():
    # Mixup alone would pair row j with row 11 - j, always a real with a fake: all rows mixed.
    targets = [mix(MIXES[0], step)[1] for step in range(20)]
    shares = [float(((t > 0) & (t < 1)).all(1).float().mean()) for t in targets]
    assert 0.3 < np.mean(shares) < 0.8


def test_chances_are_those_of_a_batch():
    steps = [mix({"mixup": 0.3, "mixup_alpha": 5.0}, step)[1] for step in range(300)]
    touched = np.mean([bool(((t > 0) & (t < 1)).any()) for t in steps])
    assert touched == pytest.approx(0.3, abs=0.08)
    images, targets = mix({"mixup": 1e-9}, 0)
    assert torch.equal(targets[:, 1], torch.arange(12) % 2)
    assert torch.equal(images[:, 0, 0, 0], targets[:, 1])


def test_mixing_is_a_pure_function_and_leaves_numpys_generator_alone():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = mix(MIXES[2], 7), mix(MIXES[2], 7), mix(MIXES[2], 8)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("count", [1, 2, 7])
def test_odd_batches_keep_one_row_as_it_is(count):
    images, targets = mix({"cutmix": 1.0}, 3, count)
    torch.testing.assert_close(images.mean((1, 2, 3)), targets[:, 1], atol=1e-5, rtol=0)
    if count % 2:
        assert ((targets == 0) | (targets == 1)).all(1).any()
