"""Cheap networks that answer alone: rules found on held-out rows, and applied to pictures."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shown_squares import show_squares

from features.core.files import write_json
from features.errors import BundleError, PictureError
from serving import Ensemble
from serving.cascade.finding import find_cascade, keep_best
from serving.cascade.rows import CascadeRows
from serving.cascade.telling import describe_cascade
from serving.format.cascade import CASCADE, CascadeFacts, CascadeRule, CascadeStep, read_cascade
from serving.format.facts import MemberFacts, RateFacts
from serving.format.files import seal_bundle
from serving.label.run import LabelTask, run
from serving.scoring.early import EarlyStop
from serving.scoring.scorer import Scorer
from stage2_ensemble.decisions.calibration import Calibration
from stage2_ensemble.decisions.calibrators import Identity
from stage2_ensemble.decisions.scored_rows import ChoiceRows, ValRows
from stage2_ensemble.measures.metrics import measure_scores

UNCALIBRATED = Calibration(Identity(), {}, 0.0, 0.0, "for tests")
COUNT = 400


def make_rows(cheap_knows: float, groups: int = COUNT) -> CascadeRows:
    """What ships knows a lot; `cheap_knows` is how far the cheap network moves the classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.array([0, 1], np.int8), COUNT // 2)
    sides = 2.0 * labels - 1
    shipped = 5 * sides + rng.normal(0, 3, COUNT)
    cheap = cheap_knows * (5 * sides + rng.normal(0, 4, COUNT)) + rng.normal(0, 0.1, COUNT)
    rows = ChoiceRows(
        row_ids=np.arange(COUNT), log_odds=shipped, groups=np.arange(COUNT) % groups,
        labels=labels, weights=np.ones(COUNT),
    )  # fmt: skip
    return CascadeRows(rows, {"noise": cheap, "small": cheap})


@pytest.fixture(scope="module")
def second_stage(ensemble):
    """That of a bundle, with the mean of both networks and a threshold in the middle."""
    own = ensemble.scorer.second_stage
    rule = own.rules.scorers["mean"]
    rule = replace(rule, threshold=replace(rule.threshold, value=0.0))
    rules = replace(own.rules, scorers={**own.rules.scorers, "mean": rule})
    return replace(own, shipped="mean", rules=rules)


def make_rule(saving: float, high: float) -> CascadeRule:
    loss = RateFacts(value=0.0, low=0.0, high=high)
    return CascadeRule(
        step=0, margin=1.0, stopped=0.5, saving=saving, auc_loss=loss, accuracy_loss=loss
    )


def test_a_cheap_network_that_knows_saves_much_for_little(ensemble, second_stage):
    rows = make_rows(cheap_knows=1.0)
    found = find_cascade(rows, second_stage, ensemble.facts.members)
    assert found.order == tuple(sorted(found.operations, key=lambda name: found.operations[name]))
    assert found.rows == COUNT
    rule = found.find_rule(0.02)
    assert rule is not None
    assert rule.saving > 1.5
    assert rule.promised_loss <= 0.02
    costlier = found.find_rule(0.05)
    assert costlier is not None
    assert costlier.saving >= rule.saving


def test_the_loss_of_a_rule_is_that_of_the_mixed_scores(ensemble, second_stage):
    """With a cheap network that needs no calibration, so that the mixture is known."""
    rows = make_rows(cheap_knows=1.0)
    found = find_cascade(rows, second_stage, ensemble.facts.members)
    rule = found.rules[-1]
    assert (rule.stopped, rule.margin) == (1.0, pytest.approx(0.0, abs=0.1))
    labels, groups = rows.shipped.labels, rows.shipped.groups
    before = measure_scores(labels, rows.shipped.log_odds, groups, 0.0)
    alone = measure_scores(labels, rows.backbones["noise"], groups, 0.0)
    assert rule.auc_loss.value == pytest.approx(before["auc"] - alone["auc"], abs=0.01)
    assert rule.saving == pytest.approx(
        sum(found.operations.values()) / found.operations[found.order[0]]
    )


def test_folds_that_share_a_network_cost_it_once(ensemble, second_stage):
    members = ensemble.facts.members
    others = [member.model_copy(update={"fold": 1, "head": 1}) for member in members]
    alone = [other.model_copy(update={"file": f"{other.name}.onnx"}) for other in others]
    once, shared, twice = (
        find_cascade(make_rows(1.0), second_stage, [*members, *more]).operations
        for more in ([], others, alone)
    )
    assert shared == once
    assert twice == {name: 2 * cost for name, cost in once.items()}


def write_cascade(folder: Path, facts: CascadeFacts) -> Path:
    write_json(folder / CASCADE, facts.model_dump(mode="json"))
    (folder / "MANIFEST.json").unlink()
    seal_bundle(folder)
    return folder


def share_file(ensemble: Ensemble, cost: int = 1) -> list[MemberFacts]:
    """`third` is one network with `small`, and `noise` another one, of 10 operations."""
    noise, small = sorted(ensemble.facts.members, key=lambda member: member.backbone)
    small = small.model_copy(update={"operations": cost})
    third = small.model_copy(update={"backbone": "third", "head": 1})
    return [small, noise.model_copy(update={"operations": 10}), third]


@pytest.mark.parametrize(
    ("cost", "order", "first"),
    [
        (9, ("small", "third", "noise"), ("small", "third")),
        (11, ("noise", "small", "third"), ("noise",)),
    ],
)
def test_backbones_that_are_one_network_cost_it_once_and_are_never_parted(
    ensemble, second_stage, cost, order, first
):
    three = replace(second_stage, backbones=("small", "noise", "third"))
    rows = make_rows(cheap_knows=1.0)
    rows = CascadeRows(rows.shipped, {**rows.backbones, "third": rows.backbones["small"]})
    found = find_cascade(rows, three, share_file(ensemble, cost))
    assert found.order == order
    assert found.operations == {"small+third": cost, "noise": 10}
    assert [step.backbones for step in found.steps] == [first]
    whole = found.rules[-1]
    assert (whole.stopped, whole.saving) == (1.0, pytest.approx((cost + 10) / min(cost, 10)))
    assert "small+third 0.0 M" in describe_cascade(found)[0]


def test_a_single_network_has_no_cascade_whatever_the_number_of_its_backbones(
    copied, ensemble, second_stage
):
    one = {"file": "members/noise+small.onnx"}
    members = [own.model_copy(update=one) for own in ensemble.facts.members]
    facts = find_cascade(make_rows(1.0), second_stage, members)
    assert facts.rules == ()
    assert facts.reason.endswith("alone, which are one network")
    with pytest.raises(BundleError, match="asks noise and small alone, which are one network"):
        Ensemble.load(write_cascade(copied(), facts), max_loss=0.1)


def test_each_rule_is_measured_on_val(ensemble, second_stage):
    rows = make_rows(cheap_knows=1.0)
    values = {name: getattr(rows.shipped, name) for name in ("row_ids", "groups", "labels")}
    like_train = ValRows(**values, log_odds=rows.shipped.log_odds)
    unlike = {name: -log_odds for name, log_odds in rows.backbones.items()}
    members = ensemble.facts.members
    same = find_cascade(rows, second_stage, members, CascadeRows(like_train, rows.backbones))
    other = find_cascade(rows, second_stage, members, CascadeRows(like_train, unlike))
    for rule, wrong in zip(same.rules, other.rules, strict=True):
        assert rule.val_auc_loss.value == pytest.approx(rule.auc_loss.value, abs=0.01)
        assert wrong.auc_loss == rule.auc_loss
        assert wrong.val_loss > wrong.promised_loss
    assert all("; on val +" in line for line in describe_cascade(other)[1:])


def test_a_cheap_network_that_knows_nothing_is_never_believed(ensemble, second_stage):
    found = find_cascade(make_rows(cheap_knows=0.0), second_stage, ensemble.facts.members)
    assert found.find_rule(0.01) is None
    assert min(rule.promised_loss for rule in found.rules if rule.saving >= 1.2) > 0.01


def test_too_few_groups_promise_nothing(ensemble, second_stage):
    found = find_cascade(make_rows(1.0, groups=10), second_stage, ensemble.facts.members)
    assert found.rules == ()
    assert describe_cascade(found) == ["none: 10 groups of a class: a promise needs 20"]


def test_one_network_alone_has_no_cascade(ensemble, second_stage):
    alone = replace(second_stage, shipped="best_single")
    found = find_cascade(make_rows(1.0), alone, ensemble.facts.members)
    assert found.reason.startswith("best_single asks ")


def test_only_rules_that_no_other_betters_are_kept():
    best = [make_rule(1.5, 0.01), make_rule(1.2, 0.0), make_rule(3.0, 0.2)]
    worse = [make_rule(1.4, 0.01), make_rule(2.9, 0.3), make_rule(1.1, 0.0)]
    kept = keep_best([*worse, *best])
    assert [rule.saving for rule in kept] == [1.2, 1.5, 3.0]


def test_what_saves_little_is_not_worth_a_loss():
    facts = CascadeFacts(rules=(make_rule(1.1, 0.0), make_rule(1.5, 0.01)))
    assert facts.find_rule(0.001) is None
    assert facts.find_rule(0.01) == facts.rules[1]


# --- applied


def make_scorer(ensemble: Ensemble, margin: float, asked: list[str] | None = None) -> Scorer:
    own = ensemble.scorer
    first, second = own.needs.backbones
    early = EarlyStop((first,), (first, second), UNCALIBRATED, 0.0, margin)

    def load(facts):
        if asked is not None:
            asked.append(facts.name)
        return own.get_network(facts)

    facts = ensemble.facts
    return Scorer(own.second_stage, facts.members, facts.pixels, load, early)


@pytest.fixture(scope="module")
def squares(ensemble):
    return show_squares(np.random.default_rng(0).integers(0, 256, (6, 48, 48, 3), dtype=np.uint8))


def test_a_margin_that_no_row_reaches_changes_nothing(ensemble, squares):
    scores = make_scorer(ensemble, math.inf).score(squares)
    assert np.isnan(scores.early.log_odds).all()
    assert scores.early.list_asked() == [ensemble.scorer.needs.backbones] * len(squares)
    assert scores.log_odds == pytest.approx(ensemble.score_rows(squares).log_odds, abs=1e-9)


def test_where_every_row_stops_the_dear_network_is_not_even_loaded(ensemble, squares):
    asked: list[str] = []
    scores = make_scorer(ensemble, 0.0, asked).score(squares)
    first = ensemble.scorer.needs.backbones[0]
    assert asked == [f"{first}-0"]
    assert scores.early.list_asked() == [(first,)] * len(squares)
    rule = ensemble.scorer.second_stage.rules.scorers[f"{first}-0"]
    alone = ensemble.score_rows(squares).members[f"{first}-0"]
    assert scores.early.log_odds == pytest.approx(rule.calibration.apply(alone), abs=1e-6)


def test_rows_that_go_on_get_the_score_of_all(ensemble, squares):
    every = make_scorer(ensemble, 0.0).score(squares).early.log_odds
    margin = float(np.median(np.abs(every)))
    scores = make_scorer(ensemble, margin).score(squares)
    late = np.isnan(scores.early.log_odds)
    assert 0 < late.sum() < len(squares)
    assert (late == (np.abs(every) < margin)).all()
    whole = ensemble.score_rows(squares).log_odds
    assert scores.log_odds[late] == pytest.approx(whole[late], abs=1e-5)


# --- in a bundle


def give_rule(folder: Path, ensemble: Ensemble, margin: float, **val: RateFacts) -> Path:
    first, second = ensemble.scorer.needs.backbones
    step = CascadeStep(backbones=(first,), calibration=UNCALIBRATED.to_json())
    rule = make_rule(1.5, 0.001).model_copy(update={"margin": margin, **val})
    return write_cascade(folder, CascadeFacts(order=(first, second), steps=(step,), rules=(rule,)))


def test_labels_say_which_networks_were_asked(copied, ensemble, pictures, tmp_path):
    folder = give_rule(copied(), ensemble, margin=0.0)
    names = tuple(map(str, pictures[:3]))
    out = tmp_path / "labels.csv"
    run(LabelTask(names, folder, out, max_loss=0.001))
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    first = ensemble.scorer.needs.backbones[0]
    assert [row["asked"] for row in rows] == [first] * 3
    members = [row.members[f"{first}-0"] for row in ensemble.label(names, with_members=True)]
    assert [float(row["log_odds"]) for row in rows] == pytest.approx(members, abs=1e-5)


def test_without_a_limit_all_networks_are_asked(copied, ensemble, pictures, tmp_path):
    folder = give_rule(copied(), ensemble, margin=0.0)
    run(LabelTask((str(pictures[0]),), folder, tmp_path / "a.csv"))
    [row] = csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8"))
    assert "asked" not in row
    [own] = ensemble.label([pictures[0]])
    assert float(row["log_odds"]) == pytest.approx(own.log_odds, abs=1e-9)


def test_a_limit_that_no_rule_promises_is_refused(copied, ensemble, pictures):
    folder = give_rule(copied(), ensemble, margin=0.0)
    with pytest.raises(BundleError, match=r"no rule saves 1\.2 times .* promises is 0\.0010"):
        Ensemble.load(folder, max_loss=0.0001)


def test_what_was_lost_on_val_is_warned_of(copied, ensemble, caplog):
    lost = RateFacts(value=0.2, low=0.1, high=0.3)
    folder = give_rule(copied(), ensemble, margin=0.0, val_auc_loss=lost, val_accuracy_loss=lost)
    Ensemble.load(folder, max_loss=0.01)
    assert "On val the rule lost 0.2000, and promised 0.0010" in caplog.text


def test_a_bundle_of_few_pictures_says_that_it_has_no_rule(bundle):
    assert read_cascade(bundle).rules == ()
    with pytest.raises(BundleError, match="a promise needs 20"):
        Ensemble.load(bundle, max_loss=0.1)


def test_all_members_and_few_members_contradict_each_other(bundle, pictures):
    task = LabelTask((str(pictures[0]),), bundle, members=True, max_loss=0.01)
    with pytest.raises(PictureError, match="leave one of both out"):
        run(task)
