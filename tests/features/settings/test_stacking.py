"""Settings of final labels: what fits together, and clear words where it does not."""

import pytest

from features.errors import ConfigError
from features.settings.sections import StageParams, validate_params
from features.settings.stacking import Decision, Label


class Params(StageParams):
    decision: Decision = Decision()
    label: Label = Label()


def check(**sections) -> Params:
    return validate_params(Params, sections, "params.yaml")


def find_problems(**sections) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(**sections)
    return caught.value.problems


def test_defaults_are_what_was_there_before():
    params = check()
    assert params.decision.threshold == "balanced_accuracy"
    assert params.decision.review is None
    assert params.label.prior == "train"


@pytest.mark.parametrize(
    "decision",
    [
        {"threshold": "fpr", "target": 0.01},
        {"threshold": "fpr", "target": "1e-3"},  # as YAML reads 1e-3
        {"threshold": "tpr", "target": 0.95, "review": 0.05},
        {"threshold": "cost", "cost_fake": 10},
        {"threshold": "f1"},
    ],
)
def test_what_fits_together(decision):
    assert check(decision=decision).decision.threshold == decision["threshold"]


@pytest.mark.parametrize(
    ("decision", "problem"),
    [
        ({"threshold": "fpr"}, "decision: threshold fpr needs a target"),
        ({"threshold": "tpr", "target": 1}, "decision.target: must be less than 1"),
        ({"target": 0.1}, "decision: target has no meaning for threshold balanced_accuracy"),
        ({"cost_fake": 2}, "decision: costs have no meaning for threshold balanced_accuracy"),
        ({"threshold": "cost", "cost_real": 0}, "decision.cost_real: must be greater"),
        ({"review": 0.5}, "decision.review: must be less than 0.5"),
        ({"threshold": "auc"}, "decision.threshold: must be one of balanced_accuracy, "),
        ({"treshold": "f1"}, "decision.treshold: unknown; did you mean threshold?"),
    ],
)
def test_what_does_not(decision, problem):
    problems = find_problems(decision=decision)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_all_problems_of_a_section_are_told():
    problems = find_problems(decision={"threshold": "f1", "target": 0.1, "cost_real": 3})
    assert len(problems) == 2


@pytest.mark.parametrize("prior", ["train", "estimate", 0.6, "6e-1"])
def test_priors(prior):
    wanted = prior if prior in ("train", "estimate") else 0.6
    assert check(label={"prior": prior}).label.prior == wanted


@pytest.mark.parametrize("prior", [0, 1, 60, "val", None, True, [0.5]])
def test_other_priors_are_refused(prior):
    shown = {"None": "null", "True": "true"}.get(repr(prior), repr(prior))
    problem = "label.prior: must be train, estimate or a share of fakes between 0 and 1"
    assert find_problems(label={"prior": prior}) == [f"{problem}, found {shown}"]
