"""The ensemble refuses columns that are not the ones it was fitted on."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_world import draw_columns, hold_out, make_rules

from features.errors import AlignmentError, ConfigError, StaleArtifactError
from stage2_ensemble.fitted.ensemble import SecondStage, check_members, check_same_rows
from stage2_ensemble.models.candidates import Pooled
from stage2_ensemble.models.combiners import Mean

ENSEMBLE = SecondStage(
    backbones=("net-a", "net-b", "net_c"),
    folds=(0, 1),
    train_digest="d" * 64,
    digests={0: (), 1: ()},
    shipped="mean",
    gate_choice="mean",
    models={"mean": Pooled(Mean())},
    oof_auc={},
    picks={},
    verdicts=(),
    rules=make_rules({"mean": 0.0}),
    rule_rows="calibration",
)


def draw_both() -> list:
    return [hold_out(draw_columns(fold, 4, 6)) for fold in (0, 1)]


def test_columns_of_all_folds_in_order_are_scored():
    columns = draw_both()
    wanted = np.mean([c.logits.mean(axis=1) for c in columns], axis=0)
    np.testing.assert_allclose(ENSEMBLE.score("mean", columns), wanted)


@pytest.mark.parametrize("places", [[0], [1, 0], [0, 0], [0, 1, 1]])
def test_other_folds_are_refused(places):
    columns = draw_both()
    with pytest.raises(AlignmentError, match="folds of ensemble and dumps"):
        ENSEMBLE.score("mean", [columns[p] for p in places])


def test_other_backbones_are_refused():
    columns = draw_both()
    columns[1] = replace(columns[1], backbones=("net-b", "net-a", "net_c"))
    with pytest.raises(AlignmentError, match="backbones"):
        ENSEMBLE.score("mean", columns)


def test_folds_on_other_rows_are_refused():
    columns = draw_both()
    columns[1] = columns[1].take(np.arange(10)[::-1])
    with pytest.raises(AlignmentError, match="rows of folds 0 and 1"):
        ENSEMBLE.score("mean", columns)


@pytest.mark.parametrize(
    ("backbones", "folds"),
    [
        (["net-a", "net-b"], (0, 1)),
        (["net-a", "net-b", "other"], (0, 1)),
        (["net-a", "net-b", "net_c"], (0,)),
        (["net-a", "net-b", "net_c"], (0, 2)),
    ],
)
def test_other_members_in_params_make_it_stale(backbones, folds):
    with pytest.raises(StaleArtifactError, match="dvc repro stack"):
        check_members(ENSEMBLE, backbones, folds)


def test_members_may_change_places_in_params():
    check_members(ENSEMBLE, ["net-a", "net-b", "net_c"], (0, 1))
    check_members(ENSEMBLE, ["net_c", "net-a", "net-b"], (1, 0))


def test_members_trained_again_since_the_fit_are_stale():
    columns = [replace(c, digests=("e" * 64,)) for c in draw_both()]
    with pytest.raises(StaleArtifactError, match=r"eeeeeeee.*dvc repro stack"):
        ENSEMBLE.score("mean", columns)


@pytest.mark.fault("dumped rows out of order, missing or of another list")
def test_columns_of_other_rows_are_refused():
    columns = draw_columns(reals=5, fakes=5)
    check_same_rows([columns, columns.take(np.arange(10))])
    for other in (columns.take(np.arange(9)), columns.take(np.arange(10)[::-1])):
        with pytest.raises(AlignmentError, match="rows of folds"):
            check_same_rows([columns, other])


def test_another_share_is_refused_where_the_threshold_was_chosen_for_one():
    """Of accuracy the best threshold moves with the share of fakes, so labels would be wrong."""
    assert ENSEMBLE.at_share(0.01).rules.prior.value == 0.01
    rule = ENSEMBLE.rules.scorers["mean"]
    threshold = replace(rule.threshold, policy="accuracy", prior=0.8)
    scorers = {"mean": replace(rule, threshold=threshold)}
    chosen = replace(ENSEMBLE, rules=replace(ENSEMBLE.rules, scorers=scorers))
    with pytest.raises(ConfigError, match=r"accuracy.* share of fakes of 0\.8"):
        chosen.at_share(0.01)
