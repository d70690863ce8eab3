"""What carries a candidate: contributions add up, blocks hold every column once."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import BACKBONES, draw_columns, hold_out

from features.forensics.columns import COLUMNS, FAMILIES
from features.settings.stacking import Stack
from stage2_ensemble.explanations import contributions
from stage2_ensemble.explanations.contributions import (
    ROWS,
    Contributions,
    add_blocks,
    explain_model,
    find_block,
    find_weights,
    list_blocks,
    measure_gains,
    sample_explained,
)
from stage2_ensemble.fitted.ensemble import average_scores
from stage2_ensemble.models import boosted, candidates, forest
from stage2_ensemble.models.best_simple import BestSimple
from stage2_ensemble.models.candidates import GATED, SIMPLE, Pooled, fit_candidate
from stage2_ensemble.models.combiners import COMBINERS

SETTINGS = Stack(
    inner_folds=3,
    repeats=1,
    bags=2,
    pca_components=4,
    max_rounds=12,
    learning_rate=0.2,
    num_leaves=7,
)
EXTRAS = ("forensic:noise:level", "forensic:srm:variance", "file:bytes")


def draw(fold: int, seed: int):
    """Fold rows with two forensic columns that say nothing and one file fact that says a lot."""
    columns = draw_columns(fold, seed=seed)
    extras = np.random.default_rng(seed).normal(size=(200, 3))
    extras[:, 2] += 2 * columns.labels
    return replace(columns, extras=extras.astype(np.float32), extra_names=EXTRAS)


@pytest.fixture(scope="module")
def folds():
    return [draw(0, 0), draw(2, 50)]


@pytest.fixture(scope="module")
def models(folds):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "LEAST_ROWS", 10)
        patch.setattr(forest, "TREES", 20)
        return {name: fit_candidate(name, folds, SETTINGS, 0) for name in (*SIMPLE, *GATED)}


@pytest.fixture(scope="module")
def new():
    return [hold_out(replace(draw(fold, 300 + fold), row_ids=np.arange(200))) for fold in (0, 2)]


@pytest.mark.parametrize("name", [n for n in (*SIMPLE, *GATED) if n != "rank_mean"])
def test_contributions_add_up_to_the_log_odds(models, new, name):
    found = explain_model(models[name], new)
    scores = found.base + found.values.sum(axis=1)
    np.testing.assert_allclose(scores, average_scores(models[name], new), atol=1e-9)


def test_a_mean_of_ranks_is_no_sum(models, new):
    assert explain_model(models["rank_mean"], new) is None
    assert measure_gains(models["rank_mean"]) == {}


def test_models_of_single_folds_share_columns_by_name(models, new):
    found = explain_model(models["lightgbm_pca"], new)
    assert len(set(found.names)) == len(found.names)
    assert {f"pca:{b}:{i}" for b in BACKBONES for i in range(4)} < set(found.names)
    parts = [
        explain_model(models["lightgbm_pca"].models[k], [new[i]]) for i, k in enumerate((0, 2))
    ]
    place = found.names.index("logit:net-b")
    wanted = np.mean([part.values[:, part.names.index("logit:net-b")] for part in parts], axis=0)
    np.testing.assert_allclose(found.values[:, place], wanted)


@pytest.mark.parametrize("start", SIMPLE)
@pytest.mark.parametrize("trees", [True, False])
def test_boosting_is_the_sum_of_its_start_and_its_trees(models, new, start, trees):
    simple = BestSimple(models[start].combiner, 0.7, -0.4)
    model = models["lightgbm"]
    model = replace(model, start=simple, boosters=model.boosters if trees else ())
    found = explain_model(model, new)
    scores = found.base + found.values.sum(axis=1)
    np.testing.assert_allclose(scores, average_scores(model, new), atol=1e-9)
    blocks = found.measure_blocks()
    if start == "rank_mean":  # no sum over backbones: a block of its own
        ranks = average_scores(simple, new)
        np.testing.assert_allclose(blocks["start"], np.abs(ranks - ranks.mean()).mean())
    else:
        assert "start" not in blocks
    if not trees:
        moved = {block for block, value in blocks.items() if value > 0}
        assert not {"file", "forensic:noise", "forensic:srm", "disagreement"} & moved
        assert set(measure_gains(model).values()) == {0.0}


def test_the_start_moves_the_log_odds_of_the_backbones(models, new):
    """A start that leans on one backbone alone is credited to it."""
    single = models["best_single"].combiner
    model = replace(models["lightgbm"], start=BestSimple(single, 5.0))
    blocks = explain_model(model, new).measure_blocks()
    strongest = max(BACKBONES, key=lambda b: blocks[f"backbone:{b}"])
    assert strongest == BACKBONES[single.backbone_]
    assert blocks[f"backbone:{strongest}"] > 2


def test_a_weighted_sum_moves_by_its_weights(models, new):
    found = explain_model(models["logistic"], new)
    logits = np.mean([c.logits for c in new], axis=0)
    wanted = models["logistic"].combiner.coefficients_ * (logits - logits.mean(axis=0))
    np.testing.assert_allclose(found.values, wanted)
    np.testing.assert_allclose(found.values.mean(axis=0), 0, atol=1e-12)


def test_weights_are_those_of_the_scores():
    logits = np.random.default_rng(0).normal(size=(300, 3)) + np.array([0, 1, 2])
    labels = (logits @ [1, 2, 3] > 8).astype(np.int8)
    for name, kind in COMBINERS.items():
        combiner = kind().fit(logits, labels, np.ones(300))
        weights = find_weights(combiner, 3)
        if name == "rank_mean":
            np.testing.assert_allclose(weights, 1 / 3)
            continue
        scores = Pooled(combiner).combiner.score(logits)
        np.testing.assert_allclose(scores - scores[0], (logits - logits[0]) @ weights)


# --- blocks


def test_blocks_hold_every_column_once(models, new):
    for name in GATED:
        names = explain_model(models[name], new).names
        places = [place for block in list_blocks(names).values() for place in block]
        assert sorted(places) == list(range(len(names)))
        wanted = {*(f"backbone:{b}" for b in BACKBONES), "disagreement", "file"}
        wanted |= {"forensic:noise", "forensic:srm"}
        assert set(list_blocks(names)) == wanted


def test_every_forensic_column_is_of_its_family():
    blocks = list_blocks([f"forensic:{name}" for name in COLUMNS])
    assert set(blocks) == {f"forensic:{family}" for family in FAMILIES}
    assert sum(map(len, blocks.values())) == len(COLUMNS)


def test_backbones_come_first_and_odd_names_are_theirs():
    names = ["logit:file", "spread", "distance:file", "pca:spread:0", "forensic:ela:mean"]
    names += ["logit_max:file", "logit_spread:file"]
    assert list(list_blocks(names).items()) == [
        ("backbone:file", [0, 2, 5, 6]),
        ("backbone:spread", [3]),
        ("disagreement", [1]),
        ("forensic:ela", [4]),
    ]
    assert find_block("start") == "start"


def test_a_column_of_no_block_is_refused():
    with pytest.raises(ValueError, match="colour:mean"):
        find_block("colour:mean")


def test_within_a_block_columns_that_pull_both_ways_cancel_out():
    values = np.array([[1.0, -1.0, 0.5], [-2.0, 2.0, -0.5]])
    found = Contributions(("logit:a", "distance:a", "spread"), values, 0.0)
    assert found.measure_columns() == {"logit:a": 1.5, "distance:a": 1.5, "spread": 0.5}
    assert found.measure_blocks() == {"backbone:a": 0.0, "disagreement": 0.5}


def test_what_says_nothing_moves_little_and_what_says_a_lot_moves_much(models, new):
    for name in GATED:
        blocks = explain_model(models[name], new).measure_blocks()
        largest = max(blocks["file"], blocks["backbone:net-b"])
        assert blocks["forensic:noise"] + blocks["forensic:srm"] < 0.3 * largest, name


# --- gain


def test_gains_are_shares_of_all_columns(models):
    for name in GATED:
        gains = measure_gains(models[name])
        assert sum(gains.values()) == pytest.approx(1)
        assert sum(add_blocks(gains).values()) == pytest.approx(1)
        assert set(EXTRAS) < set(gains)
        assert gains["file:bytes"] > gains["forensic:noise:level"]
    assert measure_gains(models["mean"]) == {}


def test_a_model_without_a_split_has_no_gain(folds, monkeypatch):
    monkeypatch.setattr(boosted, "FEWEST_LEAVES", 1)
    settings = SETTINGS.model_copy(update={"min_data_in_leaf": 1000})
    gains = measure_gains(fit_candidate("lightgbm", folds, settings, 0))
    assert set(gains.values()) == {0.0}


# --- rows


def test_of_many_rows_some_are_explained_the_same_each_time(monkeypatch):
    np.testing.assert_array_equal(sample_explained(7), np.arange(7))
    rows = sample_explained(3 * ROWS)
    assert len(np.unique(rows)) == ROWS
    assert rows.max() > 2 * ROWS
    np.testing.assert_array_equal(rows, sample_explained(3 * ROWS))
    monkeypatch.setattr(contributions, "ROWS", 5)
    assert len(sample_explained(6)) == 5
