"""Changed pictures and new generators in words, never more than intervals show."""

import pytest

from stage2_ensemble.sentences.other_data import explain_gap, list_robustness


def test_no_scorer_is_best_where_intervals_overlap():
    def draw_variant(strength, **aucs):
        values = {"change": -0.1, "change_low": -0.2, "change_high": 0.0, "fpr": 0.1, "tpr": 0.9}
        bounds = {
            name: {"auc": a, "auc_low": a - 0.03, "auc_high": a + 0.03} for name, a in aucs.items()
        }
        scorers = {name: values | found for name, found in bounds.items()}
        kind = "jpeg" if strength else "clean"
        return {"perturbation": kind, "strength": strength, "scorers": scorers}

    variants = [
        draw_variant(None, stack=0.9, mean=0.9, best_single=0.8),
        draw_variant(75, stack=0.85, mean=0.7, best_single=0.6),
        draw_variant(50, stack=0.65, mean=0.75, best_single=0.5),
    ]
    found = {"rows": 20, "reals": 10, "fakes": 10, "note": "", "variants": variants}
    found |= {"tiers": [], "robust": {}}
    assert list_robustness(found, "lightgbm")[-1] == (
        "lowest AUC 0.650 [0.620, 0.680] of stack (jpeg 50), 0.700 [0.670, 0.730] of mean "
        "(jpeg 75), 0.500 [0.470, 0.530] of best_single (jpeg 50): intervals overlap, no order "
        "is shown"
    )
    assert "of mean" in list_robustness(found, "best_single")[-1]
    assert "best_single" not in list_robustness(found, "best_single")[-1]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "it does worse on unseen ones, interval above 0"),
        (-0.03, -0.01, "it does no worse on unseen ones, interval below 0"),
        (-0.01, 0.03, "no gap is shown, interval includes 0"),
        (None, None, "no gap is shown, too few groups for an interval"),
    ],
)
def test_a_gap_is_one_where_its_interval_is_above_zero(low, high, words):
    gap = {"auc": 0.02, "auc_low": low, "auc_high": high, "against": "a, minus b"}
    assert explain_gap(gap).endswith(f"{words} (a, minus b)")
