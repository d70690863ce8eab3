"""What pictures of a new generator give a frozen encoder's head, and what they cost."""

import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from frozen_task import fit_member_of, make_frozen_project
from small_task import make_settings, make_table
from small_trainings import ALONE

from features.core.manifest import NO_FOLD, Manifest, read_manifest, write_manifest
from features.errors import ConfigError, Stopped
from features.runtime.interruption import Interruption
from features.settings.sections import load_params
from features.settings.training import TrainParams
from stage1_cnn.frozen.embedded import Embedded, Squares
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.scoring.engines import TorchEngine
from stage1_cnn.update import run as update
from stage1_cnn.update.gain import tell_gain
from stage1_cnn.update.run import Domain, judge_heads, run

TRAIN = Path("artifacts/manifest/train.parquet")
NEW = 24
"""Fakes of the new generator, of 600 rows."""


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    labels = (np.arange(600) % 3 > 0).astype(np.int8)
    table = make_table(labels, (np.arange(600) % 4).astype(np.int16))
    table["generator"] = np.where(labels == 1, "old", "")
    table.loc[np.flatnonzero(labels)[:NEW], "generator"] = "new"
    return write_manifest(table, "train", tmp_path_factory.mktemp("update") / "train.parquet")


def judge(train, shows: float, noise_axes: int = 8):
    """With old fakes that axis 0 shows, and new ones that axis 1 shows by so much."""
    rng = np.random.default_rng(0)
    n = len(train.labels)
    embeddings = rng.standard_normal((n, 2 + noise_axes)).astype(np.float32)
    generator = train.table["generator"]
    embeddings[generator == "old", 0] += 2.0
    embeddings[generator == "new", 1] += shows
    ids = np.arange(n)
    embedded = Embedded(Squares(ids, ids, None, None), embeddings)
    is_new = Domain("generator", "new").find(train)
    sessions = Sessions(ALONE, Interruption())
    return judge_heads(make_settings(), train, is_new, embedded, 0, sessions)


def test_what_is_gained_and_what_it_costs_is_told(train):
    gains = judge(train, shows=4.0)
    assert list(gains) == ["sampling", "weights: generator"]
    for found in gains.values():
        assert (found["new"].reals, found["new"].fakes) == (200, NEW)
        assert (found["old"].reals, found["old"].fakes) == (200, 400 - NEW)
        assert found["new"].before.auc < 0.65
        assert tell_gain(found["new"]) == "better"
    plain, even = gains["sampling"], gains["weights: generator"]
    # Two dozen of four hundred fakes weigh little where every row weighs alike.
    assert even["new"].after.auc > plain["new"].after.auc
    assert plain["old"].difference.auc > -0.03
    assert tell_gain(even["old"]) == "worse"


def test_nothing_is_gained_where_there_is_nothing_to_know(train):
    """As many axes as rows: a head that knew what it is judged on would tell all of it apart."""
    for found in judge(train, shows=0.0, noise_axes=600).values():
        assert tell_gain(found["new"]) == "not told apart"
        assert found["new"].after.auc < 0.7


def test_new_rows_of_one_fold_judge_no_head(train):
    """Whoever may judge them knows none: equal heads would seem to prove that nothing is gained."""
    moved = train.table.assign(generator=train.table["generator"].replace("new", "old"))
    own = np.flatnonzero((train.labels == 1) & (train.folds == 2))[:10]
    moved.loc[own, "generator"] = "new"
    found = judge(Manifest("train", moved, ""), shows=4.0)["sampling"]
    assert (found["new"].fakes, tell_gain(found["new"])) == (0, "too few to tell")
    assert found["old"].fakes == 300  # of the other three folds
    moved.loc[own, "fold"] = NO_FOLD
    with pytest.raises(ConfigError, match="heads may learn from none of the new rows"):
        judge(Manifest("train", moved, ""), shows=4.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    make_frozen_project(folder)
    return folder


@pytest.fixture
def project(place, monkeypatch):
    monkeypatch.chdir(place)
    table = read_manifest(TRAIN.parent, "train").table
    table["generator"] = np.where(np.arange(90) >= 80, "new", "old")
    write_manifest(table, "train", TRAIN)
    return place


def load(*overrides: str) -> TrainParams:
    return load_params(TrainParams, overrides)


def test_the_command_writes_all_figures(project, capsys):
    entries = run(load(), Domain("generator", "new"), None, Path("out"))
    table = pd.read_csv("out/update.csv")
    assert table["rows"].tolist() == ["new", "old"] * len(entries)
    assert set(table["backbone"]) == {"net"}
    assert table["difference"].to_numpy() == pytest.approx(table["after"] - table["before"])
    assert "generator new: " in capsys.readouterr().out


def test_fits_are_stopped_by_a_signal_and_by_the_time(project, monkeypatch):
    new = Domain("generator", "new")
    run(load(), new, None, Path("out"))  # embeddings are there
    with pytest.raises(Stopped, match=r"before the heads of fold 0 .--max-minutes"):
        run(load(), new, None, Path("late"), max_minutes=1e-6)
    fits: list[int] = []
    fit = update.fit_rows

    def signal_and_fit(*given):
        fits.append(os.kill(os.getpid(), signal.SIGTERM))
        return fit(*given)

    monkeypatch.setattr(update, "fit_rows", signal_and_fit)
    with pytest.raises(Stopped, match="SIGTERM"):
        run(load(), new, None, Path("cut"))
    assert not fits
    assert not Path("late").exists()
    assert not Path("cut").exists()


def test_what_is_not_there_is_told(project):
    with pytest.raises(ConfigError, match=r"--generator: no row has 'nwe'; did you mean new\?"):
        run(load(), Domain("generator", "nwe"), None, Path("out"))
    with pytest.raises(ConfigError, match="other: not an entry of kind frozen"):
        run(load(), Domain("generator", "new"), ["other"], Path("out"))


def test_a_list_that_grows_costs_its_new_pictures_alone(project, monkeypatch):
    seen = []
    real = TorchEngine.__call__
    monkeypatch.setattr(TorchEngine, "__call__", lambda e, p: seen.append(len(p)) or real(e, p))
    whole = read_manifest(TRAIN.parent, "train").table
    fit_member_of(0, "images.store_dir=alone", out=Path("alone/member"))
    write_manifest(whole.iloc[:80], "train", TRAIN)
    fit_member_of(0, "images.store_dir=grown", out=Path("grown/member"))
    before = len(seen)
    write_manifest(whole, "train", TRAIN)
    fit_member_of(0, "images.store_dir=grown", out=Path("grown/member"))
    assert len([count for count in seen[before:] if count > 1]) == 1  # one batch; one learns widths
    one, other = (Path(n, "member/weights.safetensors").read_bytes() for n in ("alone", "grown"))
    assert one == other
