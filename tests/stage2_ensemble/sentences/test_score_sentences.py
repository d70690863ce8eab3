"""How good it is and what it gains, never more than an interval allows."""

import pytest

from stage2_ensemble.sentences.scorers import describe_gain_on_val, list_cautions, list_units


@pytest.mark.parametrize(("count", "is_few"), [(9, True), (10, False)])
def test_cautions_tell_the_rows_behind_a_tpr(count, is_few):
    values = {"reliable": True, "groups": 500}
    values |= {"false_positives_1e-2": count, "false_positives_1e-3": None}
    (caution,) = list_cautions(values, 1000)
    assert caution.startswith(f"false positives behind TPR at FPR 1 %: {count} of 1000 reals")
    assert ("a few rows decide it" in caution) == is_few


def test_cautions_tell_that_groups_are_few():
    values = {"reliable": False, "groups": 10}
    values |= {"false_positives_1e-2": None, "false_positives_1e-3": None}
    (caution,) = list_cautions(values, 90)
    assert caution.startswith("interval not reliable: fewer than 20 groups")
    assert caution.endswith("10 groups")


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "greedy is better than the plain mean of the members: AUC +0.0200"),
        (-0.03, -0.01, "greedy is worse than the plain mean of the members: AUC"),
        (-0.01, 0.03, "no difference is shown between greedy and the plain mean of the members"),
        (None, None, "too few groups for an interval"),
    ],
)
def test_a_gain_is_one_where_its_interval_is_above_zero(low, high, words):
    gain = {"auc": 0.02, "auc_low": low, "auc_high": high}
    assert words in describe_gain_on_val("greedy", "mean", gain, 5)


@pytest.mark.parametrize(
    ("folds", "name"),
    [(1, "best single member"), (3, "best single backbone (mean of its 3 folds)")],
)
def test_a_backbone_of_several_folds_is_not_called_a_member(folds, name):
    gain = {"auc": 0.02, "auc_low": 0.01, "auc_high": 0.03}
    said = describe_gain_on_val("greedy", "best_single", gain, folds)
    assert said.startswith(f"On val greedy is better than the {name}: AUC +0.0200")


def test_units_that_nothing_was_measured_on_are_counted():
    counts = {"reals": 3, "fakes": 0, "mixed": 2}
    assert list(list_units({"counts": counts}, {})) == [
        "by unit nothing is measured: 3 real and 0 fake units, 2 with rows of both classes left out"
    ]
