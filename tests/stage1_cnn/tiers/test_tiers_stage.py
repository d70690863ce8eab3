"""The stage on a small project: rows that members did not learn from, and nothing of val."""

import logging
from pathlib import Path

import numpy as np
import pytest
import yaml
from dump_task import PARAMS, make_project, read_train

from features.artifacts.perturbed import Variant, read_perturbed
from features.core.manifest import write_manifest
from features.errors import ConfigError
from features.settings.perturb import TiersParams
from features.settings.sections import load_params
from stage1_cnn.runtime.runs import RunLimits
from stage1_cnn.tiers import run as tiers

WEB = {"web": {"side": 40, "jpeg": 60}, "hard": {"side": 24, "noise": 9.0, "jpeg": 30}}
OTHERS = {
    "seed": 0,
    "perturb": {"rows": 12, "tiers": WEB, "jpeg": [90]},
    "decision": {"threshold": "fpr", "target": 0.05, "tiers": ["hard"]},
    "backbones": {"net": {}},
    "outside": {},
    "folds": {"active": [0]},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project whose fold -1 are calibration rows, without any val."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    for role in ("val", "test"):
        (folder / f"artifacts/manifest/{role}.parquet").unlink()
    (folder / "params.yaml").write_text(yaml.safe_dump({**PARAMS, **OTHERS}))
    return folder


@pytest.fixture(autouse=True)
def project(place, monkeypatch):
    monkeypatch.chdir(place)


def run(out, *overrides):
    tiers.run(load_params(TiersParams, overrides), out, RunLimits(out.parent / "resume"))
    return read_perturbed(out / "0", read_train(), "tiers")


def test_rows_are_of_the_fold_half_of_them_fakes_under_the_chosen_tiers_alone(tmp_path):
    train, found = read_train(), run(tmp_path / "out")
    assert found.variants == (Variant("hard", None),)
    assert (train.folds[found.row_ids] == 0).all()
    assert np.bincount(train.labels[found.row_ids]).tolist() == [6, 6]
    both = run(tmp_path / "both", "decision.tiers=[web, hard]")
    np.testing.assert_array_equal(both.row_ids, found.row_ids)
    np.testing.assert_array_equal(both.logits[0][1], found.logits[0][0])
    assert np.abs(both.logits[0][0] - both.logits[0][1]).max() > 1e-3


def test_calibration_rows_are_asked_about_too(tmp_path, monkeypatch):
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, **OTHERS}))
    table = read_train().table
    table["fold"] = np.where(np.arange(len(table)) % 5 < 2, -1, table["fold"]).astype(np.int16)
    train = write_manifest(table, "train", Path("artifacts/manifest/train.parquet"))
    found = run(tmp_path / "out", f"data.root={tmp_path / 'data'}")
    assert np.bincount(train.folds[found.row_ids] + 1).tolist() == [12, 12]


def test_without_tiers_it_says_that_there_is_nothing_to_do(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    found = run(tmp_path / "out", "decision.tiers=[]")
    assert (len(found), found.note) == (0, "decision.tiers is empty")
    assert "nothing to do: decision.tiers is empty" in caplog.text


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("decision.tiers=[webb]", "webb: perturb.tiers has none of this name; did you mean web?"),
        ("perturb.rows=0", "there are no rows to choose on"),
        ("outside={clip: {}}", "detectors from outside cannot be asked"),
    ],
)
def test_settings_that_leave_nothing_to_choose_on_are_refused(override, told):
    with pytest.raises(ConfigError, match=told):
        load_params(TiersParams, [override])
