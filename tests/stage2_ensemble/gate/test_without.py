"""What is lost without a backbone: a strong one is missed, noise is not."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from synthetic_world import BACKBONES, draw_axes, draw_columns, draw_member, hold_out

from features.core.auc import AucEstimate
from features.errors import LeakageError
from features.settings.stacking import Stack
from stage2_ensemble.explanations.contributions import explain_model
from stage2_ensemble.gate import without
from stage2_ensemble.gate.differences import draw_differences, measure_fold_aucs
from stage2_ensemble.gate.out_of_fold import BEST_SIMPLE, Judged
from stage2_ensemble.gate.without import compare_without, leave_backbones_out
from stage2_ensemble.models import candidates
from stage2_ensemble.models.candidates import SIMPLE, fit_candidate

SETTINGS = Stack(
    inner_folds=3,
    repeats=2,
    bags=1,
    pca_components=4,
    max_rounds=12,
    learning_rate=0.2,
    num_leaves=7,
)
STRENGTHS = {"strong": 1.5, "noise": 0.0, "weak": 0.4}


def draw_world(fold: int, seed: int = 0):
    """One backbone that knows, one that knows nothing, one that knows a little; all by log-odds."""
    columns = draw_columns(fold, 120, 160, seed)
    drawn = [
        draw_member(columns.labels, strength, [seed, fold, i], draw_axes(10 * i + fold), hidden=0.0)
        for i, strength in enumerate(STRENGTHS.values())
    ]
    return replace(
        columns,
        backbones=tuple(STRENGTHS),
        logits=np.stack([logits for logits, _ in drawn], axis=1),
        embeddings=tuple(embeddings for _, embeddings in drawn),
        groups=np.arange(280) // 2 + 1000 * fold,
    )


@pytest.fixture(scope="module")
def folds():
    return [draw_world(0), draw_world(1, 50)]


@pytest.fixture(scope="module")
def leave(folds):
    """What is lost without each backbone, by what ships; found once."""
    return cache(lambda shipped: leave_backbones_out(folds, shipped, SETTINGS, 0))


@pytest.mark.parametrize("shipped", ["greedy", "lightgbm"])
def test_a_strong_backbone_is_missed_and_noise_is_not(leave, shipped):
    found = leave(shipped)
    assert tuple(found) == tuple(STRENGTHS)
    for less in (found["strong"].shipped, found["strong"].simple):
        assert less.auc < -0.1
        assert less.high < -0.05
    for less in (found["noise"].shipped, found["noise"].simple):
        assert less.auc == pytest.approx(0, abs=0.015)
        assert less.high > 0 > less.low or less.low > 0


@pytest.mark.parametrize("name", ["greedy", "logistic", "lightgbm", "random_forest"])
def test_noise_carries_next_to_nothing(folds, name):
    new = [hold_out(draw_world(k, 300)) for k in (0, 1)]
    blocks = explain_model(fit_candidate(name, folds, SETTINGS, 0), new).measure_blocks()
    # Trees fit some of it by chance, on 700 rows.
    assert (
        blocks["backbone:noise"] < (0.25 if name == "lightgbm" else 0.1) * blocks["backbone:strong"]
    )
    assert blocks["backbone:weak"] < blocks["backbone:strong"]


def test_what_would_ship_is_of_the_same_kind(leave):
    assert {less.name for less in leave("lightgbm").values()} == {"lightgbm"}
    for less in leave("greedy").values():
        assert less.name in SIMPLE
        assert less.shipped == less.simple


def stand_in(folds, settings, *others) -> Judged:
    """Scores for what nothing is asked of but that there are some."""
    scores = [c.logits[:, 0] for c in folds]
    return Judged(dict.fromkeys((BEST_SIMPLE, *settings.candidates), scores), {})


@pytest.mark.parametrize("shipped", ["logistic", "lightgbm", "random_forest"])
def test_models_do_not_see_the_backbone(folds, shipped, monkeypatch):
    monkeypatch.setattr(without, "judge_candidates", stand_in)
    garbled = [
        replace(
            c,
            logits=c.logits * np.array([1, 1, 1e3]) + np.array([0, 0, 7]),
            embeddings=(*c.embeddings[:2], c.embeddings[2][::-1].copy()),
        )
        for c in folds
    ]
    new = hold_out(draw_world(1, 300)).without("weak")
    models = [leave_backbones_out(f, shipped, SETTINGS, 0)["weak"] for f in (folds, garbled)]
    np.testing.assert_array_equal(*(less.model.score(new) for less in models))
    rest = [c.without("weak") for c in folds]
    wanted = fit_candidate(models[0].name, rest, SETTINGS, 0).score(new)
    np.testing.assert_array_equal(models[0].model.score(new), wanted)


def test_both_sides_are_judged_by_the_same_cuts_once(folds, monkeypatch):
    seen = []

    def judge(folds, settings, seed, *others):
        seen.append((settings.repeats, settings.candidates, seed))
        return stand_in(folds, settings)

    monkeypatch.setattr(without, "judge_candidates", judge)
    leave_backbones_out(folds, "lightgbm", SETTINGS, 5)
    assert seen == [(1, ("lightgbm",), 5)] * 4
    seen.clear()
    leave_backbones_out(folds, "mean", SETTINGS, 5)
    assert seen == [(1, (), 5)] * 4


def test_of_two_one_is_left_and_of_one_nothing(folds, monkeypatch):
    monkeypatch.setattr(without, "judge_candidates", stand_in)
    two = [c.without("weak") for c in folds]
    found = leave_backbones_out(two, "lightgbm", SETTINGS, 0)
    assert found["noise"].model.table.backbones == ("strong",)
    assert not {"spread", "margin"} & set(found["noise"].model.table.names)
    assert leave_backbones_out([c.without("noise") for c in two], "mean", SETTINGS, 0) == {}


def test_where_no_column_is_left_a_simple_one_ships(folds):
    narrow = SETTINGS.model_copy(update={"columns": ("*:strong",)})
    found = leave_backbones_out(folds, "lightgbm", narrow, 0)
    assert found["strong"].name in SIMPLE
    assert found["strong"].shipped.high < 0
    assert found["weak"].name == "lightgbm"


def freeze_others(columns):
    return replace(columns, encoders=("", "e" * 64, "f" * 64))


def forget_other_embeddings(columns):
    none = np.empty((len(columns), 0), np.float16)
    return replace(columns, embeddings=(columns.embeddings[0], none, none))


@pytest.mark.parametrize("change", [freeze_others, forget_other_embeddings])
def test_without_the_only_trained_network_a_simple_one_ships(folds, change, monkeypatch):
    monkeypatch.setattr(candidates, "LEAST_ROWS", 50)
    settings = SETTINGS.model_copy(update={"candidates": ("lightgbm_pca",), "max_rounds": 2})
    found = leave_backbones_out([change(folds[0])], "lightgbm_pca", settings, 0)
    assert found["strong"].name in SIMPLE
    assert found["strong"].simple.high < 0
    assert found["weak"].name == "lightgbm_pca"


def test_nothing_is_judged_on_rows_that_are_held_out(folds):
    held = hold_out(folds[0])
    with pytest.raises(LeakageError, match="HeldOutColumns"):
        leave_backbones_out([held], "mean", SETTINGS, 0)


def test_facts_are_differences(leave):
    less = leave("greedy")["noise"]
    assert less.to_json() == {
        "name": less.name,
        "shipped": less.shipped.to_metrics(),
        "simple": less.simple.to_metrics(),
    }


# --- differences


def test_differences_are_means_over_the_folds_with_intervals(folds):
    pair = [[c.logits[:, i] for c in folds] for i in (0, 2)]
    found = compare_without(folds, *pair, 0)
    aucs = [measure_fold_aucs(folds, scores) for scores in pair]
    assert found.auc == pytest.approx(np.mean(aucs[0]) - np.mean(aucs[1]))
    assert found.low < found.auc < found.high
    drawn = draw_differences(folds, *pair, 0)
    plain = np.quantile(drawn, [0.025, 0.975])
    assert found.low <= plain[0]
    assert found.high >= plain[1]
    back = compare_without(folds, pair[1], pair[0], 0)
    assert (back.auc, back.low) == (pytest.approx(-found.auc), pytest.approx(-found.high))


def test_equal_scores_differ_by_nothing(folds):
    scores = [c.logits[:, 0] for c in folds]
    assert compare_without(folds, scores, scores, 0) == AucEstimate(0.0, 0.0, 0.0)


def test_one_group_has_no_interval():
    columns = draw_columns()
    one = replace(columns, groups=np.zeros(200, int))
    assert compare_without([one], [one.logits[:, 0]], [one.logits[:, 1]], 0).low is None


def test_columns_without_a_backbone_keep_the_others():
    columns = replace(draw_columns(), digests=("1", "2", "3"))
    rest = columns.without("net-b")
    assert rest.backbones == (BACKBONES[0], BACKBONES[2])
    assert rest.digests == ("1", "3")
    np.testing.assert_array_equal(rest.logits, columns.logits[:, [0, 2]])
    np.testing.assert_array_equal(rest.embeddings[1], columns.embeddings[2])
    np.testing.assert_array_equal(rest.labels, columns.labels)
    with pytest.raises(ValueError, match="not in"):
        columns.without("net-d")
