"""With overridden val labels, metrics stand on both: the original ones as headline."""

import logging

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from synthetic_world import BACKBONES, replace_val

from features.core.files import read_json
from features.settings.members import MembersParams
from features.settings.sections import load_params
from stage2_ensemble.evaluate import run as evaluate
from stage2_ensemble.findings.tables import EVALUATION, read_evaluation
from stage2_ensemble.sentences.scorers import BIAS
from stage2_ensemble.summary import run as summary

CHECKS = ("threshold", "calibration", "promises", "prior", "rows", "blocks", "without")


def override(world, places, labels):
    table = world.val.table.copy()
    table.loc[places, "override"] = np.asarray(labels, np.int8)
    return table


@pytest.fixture
def disputed(enter):
    """A world whose 20 worst answers were corrected, two more confirmed; its metrics before."""
    world = enter("one fold")
    before = read_json(evaluate.OUT / "metrics.json", "evaluate")
    rows = read_evaluation(evaluate.OUT / EVALUATION)
    wrong = np.argsort(rows["score:stack"] * np.where(rows["label"] == 1, 1, -1))[:20].to_numpy()
    right = np.setdiff1d(np.arange(300), wrong)[:2]
    labels = world.val.labels
    places = [*wrong, *right]
    replace_val(world, override(world, places, [*(1 - labels[wrong]), *labels[right]]))
    corrected = labels.copy()
    corrected[wrong] = 1 - labels[wrong]
    return before, corrected


def test_corrected_labels_flatter_and_the_headline_stays(disputed, caplog, monkeypatch, capsys):
    before, labels = disputed
    with caplog.at_level(logging.INFO, "forgerystack"):
        metrics = evaluate.run(load_params(MembersParams))
    assert metrics == read_json(evaluate.OUT / "metrics.json", "evaluate")
    for name in CHECKS:
        assert metrics[name] == before[name]
    val, corrected = metrics["val"], metrics["corrected"]
    assert {**val, "null_model": None} == {**before["val"], "null_model": None}
    fakes = int(labels.sum())
    to_fake = int((labels > read_evaluation(evaluate.OUT / EVALUATION)["label"]).sum())
    assert corrected["counts"] == {
        "reals": 300 - fakes, "fakes": fakes,
        "to_real": 20 - to_fake, "to_fake": to_fake, "confirmed": 2,
    }  # fmt: skip
    assert set(corrected) - {"counts"} == set(val) - {"null_model"}
    table = read_evaluation(evaluate.OUT / EVALUATION)
    for name, values in (corrected["members"] | {"stack": corrected["stack"]}).items():
        found = roc_auc_score(labels, table[f"score:{name}"])
        assert values["auc"] == pytest.approx(found, abs=1e-12)
    assert corrected["stack"]["auc"] > val["stack"]["auc"]
    where = table["override"] >= 0
    assert where.sum() == 22
    assert (table["override"][where] == labels[where]).all()
    lines = [message.removeprefix("evaluate: ") for message in caplog.messages]
    assert BIAS in lines
    text = f"{corrected['stack']['auc']:.3f} "
    assert any(text in x and "on corrected labels" in x for x in lines)
    monkeypatch.setenv("COLUMNS", "80")
    summary.run()
    check_table(capsys.readouterr().out, metrics)


def check_table(text, metrics):
    assert max(map(len, text.splitlines())) <= 80
    part = text[text.index("val labels corrected:") :]
    assert " ".join(BIAS.split()) in " ".join(part.split())
    for name in (f"{backbone}-0" for backbone in BACKBONES):
        line = next(x for x in part.splitlines() if x.split()[:1] == [name])
        for side in ("val", "corrected"):
            assert f"{metrics[side]['members'][name]['auc']:.3f} [" in line


def test_labels_that_were_only_confirmed_change_nothing(enter):
    world = enter("one fold")
    replace_val(world, override(world, [0, 1], world.val.labels[:2]))
    assert "corrected" not in evaluate.run(load_params(MembersParams))


def test_rows_that_are_no_headline_ones_do_not_count(enter):
    world = enter("new generators")
    held = np.flatnonzero(world.val.table["domain"] == "held_out")
    replace_val(world, override(world, held, 1 - world.val.labels[held]))
    assert "corrected" not in evaluate.run(load_params(MembersParams))


def test_corrected_labels_of_one_class_are_counted_alone(enter, caplog, capsys):
    world = enter("one fold")
    fakes = np.flatnonzero(world.val.labels == 1)
    replace_val(world, override(world, fakes, np.zeros(len(fakes))))
    with caplog.at_level(logging.INFO, "forgerystack"):
        corrected = evaluate.run(load_params(MembersParams))["corrected"]
    counts = {"reals": 300, "fakes": 0, "to_real": 180, "to_fake": 0, "confirmed": 0}
    assert corrected == {"counts": counts}
    assert any("nothing is measured" in message for message in caplog.messages)
    summary.run()
    assert "on corrected labels nothing is measured" in capsys.readouterr().out
