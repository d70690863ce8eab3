"""Where `train`, `dump` and `perturb` write: one rule for all of them."""

import importlib
import shutil
from pathlib import Path

import pytest
from page_commands import ROOT

from features.errors import ConfigError
from stage1_cnn.dump import run as dump
from stage1_cnn.perturb import run as perturb
from stage1_cnn.train import run as train

COMMANDS = {
    "train": (train, {"backbone": "resnet"}, "artifacts/members/resnet/0", "optimizer.lr=1"),
    "dump": (dump, {"backbone": "resnet"}, "artifacts/dumps/resnet/0", "dump.tta=six"),
    "perturb": (perturb, {}, "artifacts/perturbed", "perturb.rows=all"),
}
OTHERS = {
    "train": "backbones.byobnet.model=resnet18",
    "dump": "dump.backbones.byobnet.tta=six",
    "perturb": "backbones.byobnet.optimizer.lr=1",
}
"""Settings of which this result knows nothing."""


@pytest.fixture(params=COMMANDS)
def name(request, tmp_path, monkeypatch):
    """A command, in a project of its own."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return request.param


def find_folder(name, monkeypatch, *overrides, out=None):
    """Into which folder the command would write."""
    module, options, _, _ = COMMANDS[name]
    command = importlib.import_module(f"stage1_cnn.{name}.__main__")
    seen = []
    monkeypatch.setattr(module, "run", lambda *arguments: seen.append(arguments[-2]))
    command.main(**options, out=out, overrides=list(overrides))
    return seen[0]


def test_settings_of_the_file_go_where_dvc_looks(name, monkeypatch):
    assert find_folder(name, monkeypatch) == Path(COMMANDS[name][2])


@pytest.mark.parametrize("changed", ["images.store=none", "images.store_dir=elsewhere"])
def test_where_pixels_are_kept_decides_no_result(name, monkeypatch, changed):
    assert find_folder(name, monkeypatch, changed) == Path(COMMANDS[name][2])


def test_settings_of_others_decide_nothing(name, monkeypatch):
    assert find_folder(name, monkeypatch, OTHERS[name]) == Path(COMMANDS[name][2])


@pytest.mark.parametrize("pixels", [False, True])
def test_other_settings_want_a_folder_of_their_own(name, monkeypatch, tmp_path, pixels):
    changed = "images.equalize=true" if pixels else COMMANDS[name][3]
    with pytest.raises(ConfigError, match=rf"{COMMANDS[name][2]} is for(.|\n)*--out DIR"):
        find_folder(name, monkeypatch, changed)
    assert find_folder(name, monkeypatch, changed, out=tmp_path / "mine") == tmp_path / "mine"
