"""The random forest: a mean of many trees, on the same columns as boosting."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score
from synthetic_world import draw_columns, hold_out, spare

from features.errors import AlignmentError, LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.columns.basis import fit_basis
from stage2_ensemble.models import forest as module
from stage2_ensemble.models.forest import TREES, Forest

SETTINGS = Stack(
    inner_folds=3, bags=1, pca_components=4, class_weight="balanced", min_data_in_leaf=20
)


def change(**values) -> Stack:
    return SETTINGS.model_copy(update=values)


def write_texts(forest: Forest) -> list[str]:
    return [booster.model_to_string() for booster in forest.boosters]


@pytest.fixture(scope="module")
def columns():
    return draw_columns()


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "TREES", 30)


def test_it_is_a_mean_of_many_trees(columns):
    forest = Forest.fit([columns], SETTINGS, 0)
    assert [booster.num_trees() for booster in forest.boosters] == [TREES] == [200]
    assert "average_output" in write_texts(forest)[0]
    new = draw_columns(seed=7)
    scores = forest.score(hold_out(new))
    assert roc_auc_score(new.labels, scores) > 0.9
    # LightGBM's own mean, which its raw scores are not.
    wanted = logit(forest.boosters[0].predict(forest.table.build(new))) - forest.shift
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)


def test_it_takes_a_bootstrap_sample_and_the_root_of_the_columns(columns, monkeypatch, small):
    seen, real = [], lightgbm.train
    monkeypatch.setattr(lightgbm, "train", lambda o, *rest: seen.append(o) or real(o, *rest))
    for wanted in (("logit:*",), ("logit:net-a",)):
        Forest.fit([columns], change(columns=wanted), 0)
    assert [options["boosting"] for options in seen] == ["rf", "rf"]
    assert [options["bagging_fraction"] for options in seen] == [0.632, 0.632]
    assert [options["bagging_freq"] for options in seen] == [1, 1]
    assert [o["feature_fraction_bynode"] for o in seen] == pytest.approx([3**-0.5, 1])


@pytest.mark.parametrize("class_weight", ["balanced", "effective", "none", 3.0, 0.2])
def test_mean_probability_is_the_share_of_fakes(small, class_weight):
    noise = draw_columns(reals=800, fakes=3200, hidden=0.0)
    rng = np.random.default_rng(1)
    noise = replace(noise, logits=rng.normal(size=noise.logits.shape))
    learn, new = noise.take(np.arange(2000)), noise.take(np.arange(2000, 4000))
    scores = Forest.fit([learn], change(class_weight=class_weight), 0).score(new)
    # It averages Newton steps, which are straight where log-odds are bent.
    assert expit(scores).mean() == pytest.approx(0.8, abs=0.04)


def test_row_weights_reach_the_trees(small):
    columns = draw_columns(reals=300, fakes=300)
    wrong = np.arange(600) % 2 == 0
    flipped = np.where(wrong, 1 - columns.labels, columns.labels).astype(np.int8)
    weights = np.where(wrong, 1e-3, 1.0)
    bare = change(columns=("logit:*",))  # distances to class means count no weights
    wary = Forest.fit([replace(columns, labels=flipped, weights=weights)], bare, 0)
    blind = Forest.fit([replace(columns, labels=flipped)], bare, 0)
    aucs = [roc_auc_score(columns.labels, forest.score(columns)) for forest in (wary, blind)]
    assert aucs[0] > 0.85 > 0.75 > aucs[1]


def test_bags_are_averaged(columns, small):
    forest = Forest.fit([columns], change(bags=3), 4)
    assert write_texts(forest)[:1] == write_texts(Forest.fit([columns], SETTINGS, 4))
    assert len(set(write_texts(forest))) == 3
    new = hold_out(draw_columns(seed=7))
    rows = forest.table.build(new)
    sums = np.mean([booster.predict(rows, raw_score=True) for booster in forest.boosters], axis=0)
    np.testing.assert_allclose(forest.score(new), sums / 30 - forest.shift)


def test_few_rows_are_split_too(small):
    columns = draw_columns(reals=15, fakes=25)
    scores = Forest.fit([columns], SETTINGS, 0).score(hold_out(columns))
    assert len(np.unique(scores)) > 3
    assert roc_auc_score(columns.labels, scores) > 0.8


def test_same_rows_give_the_same_bytes(columns, small):
    fits = [Forest.fit([columns], change(bags=2), seed) for seed in (0, 0, 1)]
    assert write_texts(fits[0]) == write_texts(fits[1])
    assert write_texts(fits[0])[0] != write_texts(fits[2])[0]
    basis = fit_basis([columns], SETTINGS, 0)
    assert write_texts(Forest.fit([columns], change(bags=2), 0, basis)) == write_texts(fits[0])


def test_other_members_are_refused(columns, small):
    forest = Forest.fit([columns], SETTINGS, 0)
    with pytest.raises(AlignmentError, match="backbones"):
        forest.score(replace(columns, backbones=("net-b", "net-a", "net_c")))
    with pytest.raises(AlignmentError, match=r"found 1, wanted \[0\]"):
        forest.score(replace(columns, fold=1))
    assert forest.score(columns.take(np.arange(0))).shape == (0,)


@pytest.mark.parametrize("forbid", [hold_out, spare])
def test_nothing_is_fitted_on_rows_that_are_held_out(columns, forbid):
    forbidden = forbid(draw_columns(1))
    for folds in ([forbidden], [columns, forbidden]):
        with pytest.raises(LeakageError, match=type(forbidden).__name__):
            Forest.fit(folds, SETTINGS, 0)
