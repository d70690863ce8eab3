"""What a report says first: true, and never more than an interval allows."""

import copy

import pytest

from features.core.files import read_json
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.gate.gate import Verdict
from stage2_ensemble.report.questions import answer_questions

LOST = Verdict("lightgbm", -0.01, -0.02, 0.003, -0.02, "lost", 20)
UNKNOWN = {"sources of reals": "data.columns.source names fewer than two"}
WON = Verdict("lightgbm", 0.02, 0.01, 0.03, 0.01, "won", 20, unknown=UNKNOWN)


@pytest.fixture
def metrics(finished):
    world = finished("one fold")
    return copy.deepcopy(read_json(world.root / evaluate.OUT / "metrics.json", "evaluate"))


def set_gain(metrics, name, low, high):
    gain = metrics["val"]["differences"][name]
    gain |= {"auc": (low + high) / 2, "auc_low": low, "auc_high": high}


def say(metrics, place, verdict=LOST, gate_choice=None):
    """The answer; without a `gate_choice` what ships is what the gate chose."""
    chosen = gate_choice or metrics["val"]["shipped"]
    answer = answer_questions(metrics, [verdict], chosen)[place]
    return answer, " ".join([answer.short, *answer.reasons])


def test_rates_are_counts_of_a_hundred_with_intervals(metrics):
    for name, values in {"reals": (0.0667, 0.0364, 0.119), "fakes": (0.995, 0.982, 1.0)}.items():
        entry = metrics["answers"][name]["fake"]
        entry |= dict(zip(("value", "low", "high"), values, strict=True))
    answer, _ = say(metrics, 0)
    assert "Of 100 reals it calls 6.7 [3.6, 11.9] fake" in answer.short
    assert "of 100 fakes it finds 99.5 [98.2, 100.0]" in answer.short


def test_few_groups_are_said_to_be_few(metrics):
    metrics["val"]["stack"]["reliable"] = False
    answer, text = say(metrics, 0)
    assert answer.tone == "open"
    assert "not reliable" in text
    assert "not reliable" in say(metrics, 2)[1]


def test_differences_are_told_only_where_the_interval_is_above_zero(metrics):
    metrics["val"]["shipped"] = "greedy"
    for low, high, words in (
        (0.01, 0.03, "is better than the best single"),
        (-0.03, -0.01, "is worse than the best single"),
        (-0.01, 0.03, "no difference is shown between greedy and the best single member"),
    ):
        set_gain(metrics, "best_single", low, high)
        assert words in say(metrics, 1)[1]


def test_several_folds_of_a_backbone_are_not_called_one_member(metrics):
    metrics["val"]["shipped"] = "greedy"
    set_gain(metrics, "best_single", 0.01, 0.03)
    for name, values in list(metrics["val"]["members"].items()):
        metrics["val"]["members"] |= {
            f"{name.rpartition('-')[0]}-{fold}": values for fold in (0, 1)
        }
    answer, text = say(metrics, 1)
    assert "is better than the best single backbone (mean of its 2 folds)" in text
    assert answer.short.startswith("Several backbones are; ")


def test_a_model_that_was_not_tried_is_not_said_to_have_failed(metrics):
    metrics["val"]["shipped"] = "greedy"
    (answer,) = answer_questions(metrics, [], "greedy")[1:2]
    assert "no LightGBM model was tried, and greedy ships" in answer.short
    assert "did not pass" not in answer.short


def test_lightgbm_is_worth_it_only_if_it_ships(metrics):
    metrics["val"]["shipped"] = "greedy"
    answer, text = say(metrics, 1)
    assert answer.tone == "mixed"
    assert "did not pass" in answer.short
    assert "against the best simple combiner, lightgbm: -0.0100" in text
    metrics["val"]["shipped"] = "lightgbm"
    answer, text = say(metrics, 1, WON)
    assert answer.short.startswith("Yes")
    assert answer.tone == "good"
    assert "How lightgbm does on other sources of reals is not known: data.columns.source" in text


def test_a_mean_that_is_one_backbones_opinion_is_said_to_be(metrics):
    assert "opinion" not in say(metrics, 1)[1]
    metrics["backbone_figures"]["net-a"]["spread"] *= 10
    assert "The plain mean is mostly the opinion of net-a (" in say(metrics, 1)[1]


@pytest.mark.parametrize(("named", "chosen"), [("lightgbm", "greedy"), ("mean", "lightgbm")])
def test_what_ships_because_it_was_asked_for_is_said_to(metrics, named, chosen):
    metrics["val"]["shipped"] = named
    answer, text = say(metrics, 1, LOST, chosen)
    assert answer.tone == "mixed"
    assert answer.short == (
        f"Not by the gate, which chose {chosen}; {named} ships because it was asked for"
    )
    assert f"The gate chose {chosen}; {named} ships because gate.ship names it." in text
    assert "lightgbm: -0.0100 [-0.0200, +0.0030]: lost" in text  # what the gate said stands there


def test_every_doubt_is_listed(metrics):
    metrics["val"]["stack"]["reliable"] = True
    metrics["val"]["null_model"] |= {"told_apart": False, "main_feature": "bytes"}
    for entry in metrics["promises"].values():
        entry["verdict"] = "kept"
    metrics["domains"].pop("gap", None)
    metrics["robustness"]["variants"] = []
    answer, _ = say(metrics, 2)
    assert answer.tone == "open"
    assert "Val cannot tell" in answer.short

    metrics["domains"]["gap"] = {"auc": 0.1, "auc_low": 0.05, "auc_high": 0.15, "against": "a, b"}
    metrics["val"]["null_model"]["told_apart"] = True
    metrics["promises"]["fpr"]["verdict"] = "differs"
    bounds = {"auc_low": 0.65, "auc_high": 0.95}
    worst = bounds | {"auc": 0.7, "change": -0.2, "change_low": -0.25, "change_high": -0.15}
    mild = bounds | {"auc": 0.9, "change": -0.001, "change_low": -0.01, "change_high": 0.01}
    metrics["robustness"] = {
        "variants": [
            {"perturbation": "clean", "strength": None, "scorers": {"stack": {"auc": 0.9}}},
            {"perturbation": "blur", "strength": 1.0, "scorers": {"stack": mild}},
            {"perturbation": "jpeg", "strength": 50, "scorers": {"stack": worst}},
        ],
        "robust": {},
    }
    answer, text = say(metrics, 2)
    assert answer.short == "There are 4 reasons for doubt, named first"
    for words in ("without looking, mostly by bytes", "+0.1000", "jpeg 50", "FPR at the threshold"):
        assert words in text


def keep_all(metrics):
    """Nothing to doubt."""
    metrics["val"]["stack"]["reliable"] = True
    metrics["val"]["null_model"]["told_apart"] = False
    for entry in metrics["promises"].values():
        entry["verdict"] = "kept"
    metrics["robustness"] |= {"variants": [], "robust": {}}
    metrics["called_fake"]["reals"]["sources"] = []


def test_new_generators_without_known_ones_are_not_said_to_be_known(metrics):
    keep_all(metrics)
    values = {"auc": None, "auc_low": None, "auc_high": None}
    metrics["domains"] = {"seen": values | {"against": "60 seen reals against 0 seen fakes"}}
    answer, text = say(metrics, 2)
    assert answer.tone == "open"
    assert "All generators of val are in train" in text
    found = {"auc": 0.9, "auc_low": 0.8, "auc_high": 0.95}
    metrics["domains"]["unseen"] = found | {"against": "50 unseen fakes against 60 seen reals"}
    answer, text = say(metrics, 2)
    assert answer.tone == "open"
    assert answer.short == (
        "Val cannot tell: its unseen generators cannot be compared with seen ones"
    )
    assert "All generators of val are in train" not in text
    assert "how much worse it does on new ones is not known" in text
    assert "AUC 0.900 [0.800, 0.950] on 50 unseen fakes against 60 seen reals." in answer.reasons
    assert "0 seen fakes" not in text


def test_other_data_are_trusted_only_where_a_gap_was_measured_and_none_is_shown(metrics):
    keep_all(metrics)
    found = {"auc": 0.9, "auc_low": 0.8, "auc_high": 0.95, "against": "60 fakes against 60 reals"}
    gap = {"auc": 0.01, "auc_low": -0.05, "auc_high": 0.07, "against": "a minus b"}
    metrics["domains"] = {"seen": found, "unseen": dict(found), "gap": gap}
    answer, _ = say(metrics, 2)
    assert (answer.short, answer.tone) == ("Val shows no reason for doubt", "good")
    gap |= {"auc_low": None, "auc_high": None}
    assert say(metrics, 2)[0].tone == "open"


@pytest.mark.parametrize("domain", ["unseen", "held_out"])
def test_chance_on_new_generators_is_a_doubt_with_and_without_a_gap(metrics, domain):
    keep_all(metrics)
    found = {"auc": 0.53, "auc_low": 0.48, "auc_high": 0.58, "against": "300 new fakes"}
    metrics["domains"] = {domain: found}
    said = "On 300 new fakes it is not shown to be better than chance: AUC 0.530 [0.480, 0.580]."
    answer, text = say(metrics, 2)
    assert answer.tone == "bad"
    assert answer.reasons[0] == said
    assert text.count("0.530 [0.480, 0.580]") == 1
    found["auc_low"] = 0.51
    assert say(metrics, 2)[0].tone == "open"


def test_a_clear_loss_is_a_doubt_though_another_one_that_may_be_chance_is_larger(metrics):
    keep_all(metrics)

    def draw(strength, change, low, high):
        values = {"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "change": change}
        scorers = {"stack": values | {"change_low": low, "change_high": high}}
        return {"perturbation": "jpeg", "strength": strength, "scorers": scorers}

    metrics["robustness"]["variants"] = [draw(50, -0.1, -0.25, 0.05)]
    answer, text = say(metrics, 2)
    assert answer.tone != "bad"
    assert "Of changed pictures it does worst under jpeg 50" in text
    metrics["robustness"]["variants"].append(draw(75, -0.05, -0.06, -0.04))
    answer, text = say(metrics, 2)
    assert answer.short == "There is one reason for doubt, named first"
    assert "worse on changed pictures, most clearly under jpeg 75" in answer.reasons[0]
    assert "does worst" not in text


def test_doubts_are_said_to_come_first_only_where_something_else_follows(metrics):
    metrics["val"]["stack"]["reliable"] = True
    metrics["val"]["null_model"]["told_apart"] = False
    for entry in metrics["promises"].values():
        entry["verdict"] = "kept"
    metrics["domains"] = {"gap": {"auc": 0.1, "auc_low": 0.05, "auc_high": 0.15, "against": "a"}}
    metrics["robustness"]["variants"] = []
    reals = metrics["called_fake"]["reals"]
    reals["all"]["called_fake"] = 0.1
    reals["sources"][0]["shared_low"] = 0.2
    answer, _ = say(metrics, 2)
    assert answer.short == "There are 2 reasons for doubt"
    assert len(answer.reasons) == 2
    reals["sources"] = []
    answer, _ = say(metrics, 2)
    assert answer.short == "There is one reason for doubt, named first"
    assert "+0.1000" in answer.reasons[0]
    assert len(answer.reasons) == 2


def test_a_source_of_reals_that_is_called_fake_more_often_is_a_reason_for_doubt(metrics):
    reals = metrics["called_fake"]["reals"]
    reals["all"]["called_fake"] = 0.1
    for entry in metrics["promises"].values():
        entry["verdict"] = "kept"
    worst = reals["sources"][0]
    worst |= {"name": "phone", "called_fake": 0.2, "shared_low": 0.09, "shared_high": 0.3}
    before, text = say(metrics, 2)
    assert "None of 2 sources of reals" in text
    worst["shared_low"] = 0.11
    answer, text = say(metrics, 2)
    assert "Of 2 sources of reals the worst is phone" in text
    assert (before.short, answer.short) == (
        "There is one reason for doubt, named first", "There are 2 reasons for doubt, named first",
    )  # fmt: skip
    reals["sources"] = []
    assert "Reals of val have no source" in say(metrics, 2)[1]


def test_without_val_nothing_is_claimed_of_it():
    metrics = {
        "val": None,
        "note": "no held-out val",
        "shipped": "mean",
        "rows": {"val": {"reals": 0, "fakes": 0}},
        "out_of_fold": {
            "calibration": {"name": "platt", "reason": "r", "ece_before": 0.1, "ece_after": 0.05},
            "threshold": {
                "value": 0.1,
                "policy": "accuracy",
                "fpr": {"value": 0.1},
                "tpr": {"value": 0.9},
            },
            "prior": {"value": 0.3, "reason": "label.prior is 0.3"},
            "read_on": "out-of-fold",
            "without": {},
        },
        "earlier": "no earlier run is known",
    }
    (answer,) = answer_questions(metrics, [], "mean")
    assert "no held-out val" in answer.short
    assert "no earlier run is known" in " ".join(answer.reasons)
    assert "share of fakes: probabilities assume 0.300 (label.prior is 0.3)" in answer.reasons
