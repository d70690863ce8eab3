"""Members that see crops or fitted pictures: what is scored of a picture, and what is kept."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from dump_task import MEMBER, dump, make_project, read_files
from PIL import Image

from features.artifacts import row_blocks
from features.artifacts.dumps import read_dump
from features.core.manifest import ROLES, read_manifest
from features.errors import ConfigError, Stopped
from features.runtime.interruption import Interruption
from features.settings.images import Geometry
from stage1_cnn.networks.member import load_network, read_member
from stage1_cnn.scoring import rows
from stage1_cnn.scoring.engines import build_torch_engine

CORNERS = [(0, 0), (0, 16), (16, 0), (16, 16)]
"""Of squares of 32 pixels in pictures of 48."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    make_project(folder, images=Geometry(mode="crop"))
    return folder


@pytest.fixture(autouse=True)
def project(place, monkeypatch):
    """The project as the current folder; small batches, each of them saved."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(rows, "CPU_BATCH", 6)
    monkeypatch.setattr(row_blocks, "SAVE_SECONDS", 0)


def read_role(out, role):
    return read_dump(out, read_manifest(Path("artifacts/manifest"), role), "net", 0)


def score_squares(role, views=lambda square: [square]):
    """Log-odds `(n, 4)` and embeddings `(n, 4, d)` of each square, straight through the network."""
    member = read_member(MEMBER, "net", 0)
    engine = build_torch_engine(load_network(MEMBER, member), member.settings, torch.device("cpu"))
    manifest = read_manifest(Path("artifacts/manifest"), role)
    found = []
    for path in manifest.table["path"].iloc[manifest.rows_to_dump(0)]:
        picture = np.asarray(Image.open(Path("data") / path))
        squares = [picture[y : y + 32, x : x + 32] for y, x in CORNERS]
        seen = np.stack([view for square in squares for view in views(square)])
        scores = [part.numpy() for part in engine(torch.from_numpy(seen))]
        found.append([part.reshape(4, -1, *part.shape[1:]).mean(1) for part in scores])
    return [np.stack(part) for part in zip(*found, strict=True)]


@pytest.mark.parametrize(
    ("overrides", "views"),
    [([], lambda s: [s]), (["dump.tta=hflip"], lambda s: [s, s[:, ::-1]])],
)
def test_a_row_is_the_mean_the_highest_and_the_spread_of_its_crops(tmp_path, overrides, views):
    dump(tmp_path / "out", *overrides)
    for role in ROLES:
        found = read_role(tmp_path / "out", role)
        logits, embeddings = score_squares(role, views)
        np.testing.assert_allclose(found.logits, logits.mean(1), atol=1e-4)
        wanted = np.stack([logits.max(1), logits.std(1)], axis=1)
        np.testing.assert_allclose(found.crop_logits, wanted, atol=1e-4)
        np.testing.assert_allclose(found.embeddings, embeddings.mean(1), atol=1e-2, rtol=1e-2)


def test_fewer_and_larger_crops_are_taken_where_settings_say_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    dump(tmp_path / "one", "dump.crops=1")
    one = read_role(tmp_path / "one", "val")
    np.testing.assert_array_equal(one.crop_logits[:, 0], one.logits)
    assert not one.crop_logits[:, 1].any()
    dump(tmp_path / "large", "dump.image_size=64")  # no picture is so large: it is mirrored
    assert not read_role(tmp_path / "large", "val").crop_logits[:, 1].any()
    assert "at 64 px, up to 9 crops a picture" in caplog.text
    assert re.search(r"AUC \S+ \S+ \S+ plain at 32 px", caplog.text)


def test_a_dump_of_crops_goes_on_where_it_was_cut_off(tmp_path, monkeypatch):
    whole = dump(tmp_path / "whole")
    calls = iter(range(100))

    def find_reason(self, ahead):
        return "a signal came" if next(calls) == 9 else None

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "find_reason", find_reason)
        with pytest.raises(Stopped, match=r"after \d+ of 45 rows of train"):
            dump(tmp_path / "out", resume_dir=tmp_path / "resume")
    found = dump(tmp_path / "out", resume_dir=tmp_path / "resume")
    assert found == whole
    assert "val.crop_logits.npy" in read_files(tmp_path / "out")


def test_crops_are_refused_for_a_member_that_sees_squares(tmp_path, monkeypatch):
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"dump\.backbones\.net\.crops 4: its images\.mode is sq"):
        dump(tmp_path / "out", "dump.backbones.net.crops=4")


def test_fitted_pictures_are_scored_like_any_square(tmp_path, monkeypatch):
    make_project(tmp_path, images=Geometry(mode="fit"))
    make_project(tmp_path / "squares")
    monkeypatch.chdir(tmp_path)
    dump(tmp_path / "out")
    fitted = read_role(tmp_path / "out", "val")
    assert fitted.crop_logits is None
    monkeypatch.chdir(tmp_path / "squares")
    dump(tmp_path / "out2")
    np.testing.assert_array_equal(read_role(tmp_path / "out2", "val").logits, fitted.logits)
