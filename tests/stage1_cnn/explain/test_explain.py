"""The stage on a small project: what it writes, at which size, and what it refuses."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dump_task import MEMBER, make_project, read_files
from small_task import make_settings

from features.artifacts.gradcam import read_gradcam
from features.core.files import write_array, write_sealed
from features.core.manifest import read_manifest
from features.errors import IntegrityError, MissingArtifactError, StaleArtifactError
from features.settings.images import Geometry
from features.settings.learning import Network
from features.settings.sections import load_params
from stage1_cnn.explain import run as explain
from stage1_cnn.explain.run import run, scale_maps
from stage1_cnn.explain.settings import ExplainParams
from stage1_cnn.networks.member import read_member, write_member
from stage1_cnn.networks.network import build_network

ROWS = np.array([0, 3, 4, 11, 39], np.int64)
OTHERS = {
    "noise": {"model": "test_byobnet", "network": Network(input="srm")},
    "both": {"model": "test_efficientnet_gn", "network": Network(input="rgb+srm")},
    "token": {"model": "test_vit"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The project with three more backbones beside `net`, all made for 32 pixels."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    member = read_member(folder / MEMBER, "net", 0)
    for name, changes in OTHERS.items():
        settings = make_settings(**changes)
        own = replace(member, id=replace(member.id, backbone=name), settings=settings)
        where = folder / f"artifacts/members/{name}/0"
        write_member(build_network(settings).state_dict(), own, where)
    return folder


@pytest.fixture(autouse=True)
def project(place, monkeypatch):
    """The project as the current folder, with a gallery; batches smaller than it."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(explain, "BATCH", 2)
    write_gallery(ROWS)


def read_val():
    return read_manifest(Path("artifacts/manifest"), "val")


def write_gallery(rows, val_digest=None):
    facts = {"val_manifest": val_digest or read_val().digest}
    write_array(Path("artifacts/gallery/rows.npy"), np.asarray(rows, np.int64))
    entries = [{"row": int(row)} for row in rows]
    write_sealed(Path("artifacts/gallery/gallery.json"), {**facts, "rows": entries})


def read_params(*overrides, names=("net", *OTHERS)):
    given = [f"backbones={{{', '.join(f'{name}: null' for name in names)}}}", "folds.active=[0, 1]"]
    return load_params(ExplainParams, [*given, *overrides])


def test_each_backbone_shows_the_rows_of_the_gallery(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    params = read_params("dump.image_size=48", "dump.backbones={noise: {image_size: 40}}")
    run(params, tmp_path)
    names = ["net", *OTHERS]
    assert sorted(read_files(tmp_path)) == sorted(["gradcam.json", *(f"{n}.npy" for n in names)])
    found = read_gradcam(tmp_path, read_val().digest, ROWS)
    shapes = {name: maps.shape for name, maps in found.maps.items()}
    assert shapes == dict.fromkeys(names[:3], (5, 2, 2, 2))
    assert all((maps.max((1, 2, 3)) == 255).all() for maps in found.maps.values())
    assert found.layers == {**dict.fromkeys(names[:3], "forward_features"), "token": None}
    assert (
        found.members["both"] == read_member(Path("artifacts/members/both/0"), "both", 0).id.digest
    )
    assert np.load(tmp_path / "token.npy").shape[:2] == (5, 2)
    assert "token: its head tells no places apart" in caplog.text


def test_the_same_bytes_each_time_and_a_row_does_not_depend_on_the_others(tmp_path):
    params = read_params("dump.image_size=48")
    run(params, tmp_path / "a")
    run(params, tmp_path / "b")
    assert read_files(tmp_path / "a") == read_files(tmp_path / "b")
    write_gallery([11])
    run(params, tmp_path / "c")
    alone, together = np.load(tmp_path / "c" / "net.npy"), np.load(tmp_path / "a" / "net.npy")
    np.testing.assert_allclose(alone[0].astype(int), together[3], atol=1)
    assert not np.array_equal(together[3], together[4])


def test_a_network_that_ends_in_one_place_shows_nothing(tmp_path):
    run(read_params(names=["net"]), tmp_path)  # 32 pixels, and 32 of them make a place
    found = read_gradcam(tmp_path, read_val().digest, ROWS)
    assert (found.maps, found.layers) == ({}, {"net": None})
    assert not np.load(tmp_path / "net.npy").any()


def test_an_empty_gallery_has_no_maps(tmp_path):
    write_gallery([])
    run(read_params("dump.image_size=48"), tmp_path)
    found = read_gradcam(tmp_path, read_val().digest, np.empty(0, np.int64))
    assert [len(maps) for maps in found.maps.values()] == [0, 0, 0]


def test_without_backbones_there_are_no_maps_and_no_picture_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(explain.MemberStores, "open", None)
    run(read_params(names=()), tmp_path)
    found = read_gradcam(tmp_path, read_val().digest, ROWS)
    assert (found.maps, found.layers) == ({}, {})


def test_fine_maps_are_averaged_to_32_places(tmp_path, monkeypatch):
    monkeypatch.setattr(explain, "MOST_SIDE", 1)
    run(read_params("dump.image_size=48", names=["net"]), tmp_path)
    assert np.load(tmp_path / "net.npy").shape == (5, 2, 1, 1)


def test_a_gallery_of_another_val_is_stale(tmp_path):
    write_gallery(ROWS, val_digest="0" * 64)
    with pytest.raises(StaleArtifactError, match="dvc repro gallery"):
        run(read_params(), tmp_path)


@pytest.mark.parametrize("rows", [[0, 3, 4, 11], [0, 3, 4, 11, 12]])
def test_rows_that_the_gallery_does_not_describe_are_damage(tmp_path, rows):
    write_array(Path("artifacts/gallery/rows.npy"), np.array(rows, np.int64))
    with pytest.raises(IntegrityError, match=r"not those of gallery\.json"):
        run(read_params(), tmp_path)


def test_a_file_that_holds_no_rows_is_damage_and_none_is_missing(tmp_path):
    path = Path("artifacts/gallery/rows.npy")
    path.write_bytes(b"rows")
    with pytest.raises(IntegrityError, match="no valid array"):
        run(read_params(), tmp_path)
    path.unlink()
    with pytest.raises(MissingArtifactError, match="gallery"):
        run(read_params(), tmp_path)


def test_both_sides_of_a_row_are_scaled_together():
    mixed, nothing, broken = [[4, -1], [2, 0]], [[0, 0], [0, 0]], [[float("nan"), 0], [0, -1e-40]]
    signed = torch.tensor([mixed, nothing, broken], dtype=torch.float32)
    real, fake = scale_maps(signed).swapaxes(0, 1)
    assert fake.tolist() == [[[255, 0], [128, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert real.tolist() == [[[0, 64], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 255]]]


@pytest.mark.parametrize("mode", ["fit", "crop"])
def test_members_of_another_geometry_show_whole_pictures(tmp_path, mode, monkeypatch):
    make_project(tmp_path, images=Geometry(mode=mode))
    monkeypatch.chdir(tmp_path)
    write_gallery(ROWS)
    run(read_params("dump.image_size=40", names=["net"]), tmp_path / "out")
    maps = read_gradcam(tmp_path / "out", read_val().digest, ROWS).maps["net"]
    assert maps.shape == (5, 2, explain.MOST_SIDE, explain.MOST_SIDE)
    dark = (maps.max(axis=1) == 0).mean(axis=(1, 2))
    assert (dark > 0.2).all() if mode == "crop" else (dark < 0.2).all()
