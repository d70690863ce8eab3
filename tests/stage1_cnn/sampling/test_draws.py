import numpy as np
import pytest

from features.settings.learning import Sampling
from stage1_cnn.sampling.draws import DrawCounter
from stage1_cnn.sampling.samplers import Candidates, build_batches

LABELS = np.array([0, 0, 0, 1, 1, 1, 1], np.int8)


def test_hand_made_case_over_two_epochs():
    counter = DrawCounter(LABELS)
    counter.count(np.array([0, 3, 4, 0]))
    counter.count(np.array([1, 5, 3, 3]))
    assert counter.summarise() == {
        "real_share": 3 / 8,
        "seen_real": 2,
        "repeats_real_mean": 3 / 2,
        "repeats_real_max": 2,
        "seen_fake": 3,
        "repeats_fake_mean": 5 / 3,
        "repeats_fake_max": 3,
    }
    counter.count(np.array([0, 0, 2, 3]))
    assert counter.summarise() == {
        "real_share": 3 / 4,
        "seen_real": 3,
        "repeats_real_mean": 6 / 3,
        "repeats_real_max": 4,
        "seen_fake": 3,
        "repeats_fake_mean": 6 / 3,
        "repeats_fake_max": 4,
    }


def test_each_rank_has_a_share_of_its_own():
    counter = DrawCounter(LABELS, world=3)
    counter.count(np.array([0, 1, 3, 4, 0]))
    figures = counter.summarise()
    assert figures["real_share"] == 3 / 5
    # Five rows are shared out 1, 2, 2.
    assert [figures[f"real_share_rank{r}"] for r in range(3)] == [1, 1 / 2, 1 / 2]


def test_no_shares_of_ranks_without_ranks():
    counter = DrawCounter(LABELS, world=1)
    counter.count(np.array([0]))
    assert not [name for name in counter.summarise() if "rank" in name]


def test_a_rank_without_rows_has_no_share():
    counter = DrawCounter(LABELS, world=2)
    counter.count(np.array([0]))
    figures = counter.summarise()
    assert np.isnan(figures["real_share_rank0"])
    assert figures["real_share_rank1"] == 1


def test_a_class_that_was_not_seen_has_no_repeats():
    counter = DrawCounter(LABELS)
    counter.count(np.array([5, 6]))
    figures = counter.summarise()
    assert figures["real_share"] == 0
    assert [figures[f"{name}"] for name in ("seen_real", "repeats_real_mean")] == [0, 0]


@pytest.mark.parametrize("mode", ["natural", "balanced", "weighted"])
def test_agrees_with_counts_of_all_draws(mode):
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.8).astype(np.int8)
    candidates = Candidates(labels, rng.uniform(0.1, 5, 200))
    batches = build_batches(candidates, Sampling(mode=mode), 16, 0)
    counter, rows = DrawCounter(labels), [batches.batch(step) for step in range(30)]
    for batch in rows:
        counter.count(batch)
    figures, counts = counter.summarise(), np.bincount(np.concatenate(rows), minlength=200)
    assert figures["real_share"] == (labels[np.concatenate(rows)] == 0).mean()
    for label, name in enumerate(("real", "fake")):
        of_class = counts[labels == label]
        assert figures[f"seen_{name}"] == (of_class > 0).sum()
        assert figures[f"repeats_{name}_mean"] == of_class[of_class > 0].mean()
        assert figures[f"repeats_{name}_max"] == of_class.max()
