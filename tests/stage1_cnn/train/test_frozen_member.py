"""Members with a frozen encoder, from settings to dumps."""

import json
import os
import shutil
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dump_task import MEMBER, dump
from filelock import FileLock
from frozen_task import count_pictures, fit_member_of, make_frozen_project
from graph_files import write_graph

from features.artifacts.dumps import read_dump
from features.core.manifest import ROLES, read_manifest
from features.errors import Stopped
from features.pixels.store import open_store
from features.settings.images import Images
from features.settings.sections import load_params
from features.settings.training import TrainParams
from stage1_cnn.frozen import cache
from stage1_cnn.networks.member import load_network, read_member
from stage1_cnn.runtime.runs import RunLimits
from stage1_cnn.scoring import filling, rows
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.train.run import run

MEMBERS = Path("artifacts/members/net")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    make_frozen_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for fold in (0, 1):
            fit_member_of(fold)
    return folder


@pytest.fixture(autouse=True)
def project(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr(rows, "CPU_BATCH", 16)


@pytest.fixture
def pictures(monkeypatch):
    """How many pictures went through the network."""
    return count_pictures(monkeypatch)


def read(out, role="val", fold=0):
    return read_dump(out, read_manifest(Path("artifacts/manifest"), role), "net", fold)


def test_a_member_says_that_its_encoder_is_shared_and_that_its_head_alone_was_learned():
    first, second = (read_member(MEMBERS / str(fold), "net", fold) for fold in (0, 1))
    assert first.id.encoder == second.id.encoder != ""
    assert first.id.digest != second.id.digest
    width = load_network(MEMBERS / "0", first).head.in_features
    assert first.learned == width + 1
    assert first.judged["raw"]["auc"] is not None
    assert pd.read_csv(MEMBERS / "0" / "history.csv").empty
    # What changes weights has no part in it, whatever the global sections say.
    assert (first.settings.loss.kind, first.settings.augment.self_blend) == ("cross_entropy", 0)
    assert first.id.correction.shift == pytest.approx(np.log(30 / 15))


def test_pictures_are_seen_once_for_all_folds_and_roles(pictures, tmp_path):
    shutil.rmtree("store/embeddings")
    fit_member_of(0)
    assert sum(pictures) >= 90
    dump(tmp_path / "out")
    seen = sum(pictures)
    assert seen < 96 + 48 + 16 + 10  # whole batches, and one picture a time to know the width
    fit_member_of(1)
    dump(tmp_path / "again")
    assert sum(pictures) - seen < 10


def test_a_dump_is_what_the_network_itself_says_and_its_embeddings(tmp_path):
    dump(tmp_path / "out")
    member = read_member(MEMBERS / "0", "net", 0)
    network = load_network(MEMBERS / "0", member)
    engine = build_torch_engine(network, member.settings, torch.device("cpu"))
    for role in ROLES:
        found, manifest = read(tmp_path / "out", role), read_manifest(
            Path("artifacts/manifest"), role
        )  # fmt: skip
        store = open_store(manifest, Path("data"), Images(size=48, store="none"))
        log_odds, embeddings = engine(torch.from_numpy(store.gather(manifest.rows_to_dump(0))))
        np.testing.assert_allclose(found.logits, log_odds.numpy(), atol=1e-4)
        np.testing.assert_allclose(found.embeddings, embeddings.numpy(), atol=1e-2, rtol=1e-2)
        assert found.member.encoder == member.id.encoder


def test_twice_the_same_bytes_with_and_without_a_cache(tmp_path):
    first = dump(tmp_path / "first")
    kept = (MEMBERS / "0" / "weights.safetensors").read_bytes()
    shutil.rmtree("store/embeddings")
    fit_member_of(0)
    assert (MEMBERS / "0" / "weights.safetensors").read_bytes() == kept
    assert dump(tmp_path / "second") == first


def test_views_are_averaged_and_what_they_gain_is_told(tmp_path, caplog):
    caplog.set_level("INFO", logger="forgerystack")
    plain, both = dump(tmp_path / "plain"), dump(tmp_path / "both", "dump.tta=hflip")
    assert plain["val.logits.npy"] != both["val.logits.npy"]
    assert "with tta hflip at 32 px; difference" in caplog.text


def test_a_kill_loses_no_saved_embedding(pictures, monkeypatch):
    whole = (MEMBERS / "0" / "weights.safetensors").read_bytes()
    shutil.rmtree("store/embeddings")
    count = []

    def stop_after_two(*args):
        count.append(args)
        return "told to" if len(count) > 2 else None

    with monkeypatch.context() as patch:
        patch.setattr(filling.Interruption, "find_reason", stop_after_two)
        with pytest.raises(Stopped, match="of 90 images of train"):
            fit_member_of(0)
    before = sum(pictures)
    fit_member_of(0)
    assert sum(pictures) - before < 60
    assert (MEMBERS / "0" / "weights.safetensors").read_bytes() == whole


def test_who_waits_for_anothers_embeddings_can_be_stopped(tmp_path, caplog):
    caplog.set_level("INFO", logger="forgerystack")
    with ExitStack() as held:
        for folder in Path("store/embeddings").iterdir():
            held.enter_context(FileLock(folder / "lock"))
        timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT))
        held.callback(timer.cancel)
        timer.start()
        start = time.monotonic()
        with pytest.raises(Stopped, match=r"while another process worked in .* .SIGINT."):
            fit_member_of(0, out=tmp_path / "member")
        limits = RunLimits(Path("resume"), max_minutes=1e-6)
        with pytest.raises(Stopped, match=r"while another process worked in .* .--max-minutes"):
            run(load_params(TrainParams), "net", 0, tmp_path / "member", limits)
        assert time.monotonic() - start < 60
    assert "waiting for another process" in caplog.text
    fit_member_of(0, out=tmp_path / "member")


def test_damaged_embeddings_are_made_again(caplog):
    whole = (MEMBERS / "0" / "weights.safetensors").read_bytes()
    fit_member_of(0)
    (place,) = (p.parent for p in Path("store/embeddings").glob("*/key.json")
                if json.loads(p.read_text())["key"]["role"] == "train"
                and json.loads(p.read_text())["key"]["tta"] == "none")  # fmt: skip
    path = place / f"{cache.ARRAY}.embeddings.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    fit_member_of(0)
    assert "damaged blocks are computed again" in caplog.text
    assert (MEMBERS / "0" / "weights.safetensors").read_bytes() == whole


def test_several_squares_of_a_picture_are_scored_as_a_network_scores_them(tmp_path):
    crops = ("backbones.net.images.mode=crop", "backbones.net.image_size=24")
    folder = fit_member_of(0, *crops, out=tmp_path / "member")
    found = dump_from(folder, tmp_path / "out")
    assert found.crop_logits.shape == (40, 2)
    assert (found.crop_logits[:, 0] >= found.logits - 1e-5).all()
    assert found.crop_logits[:, 1].max() > 0


def dump_from(member, out):
    """What a member in another folder says of val."""
    shutil.copytree(MEMBER, out.parent / "kept")
    shutil.rmtree(MEMBER)
    shutil.copytree(member, MEMBER)
    try:
        dump(out)
    finally:
        shutil.rmtree(MEMBER)
        shutil.copytree(out.parent / "kept", MEMBER)
    return read(out)


def test_an_onnx_file_is_a_member_like_any_other(tmp_path):
    write_graph(Path("quarters.onnx"))
    entry = (
        "{kind: frozen, model: quarters.onnx, image_size: 32, "
        "graph: {output: embeds, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}}"
    )
    member = fit_member_of(0, f"backbones.net={entry}", out=tmp_path / "member")
    found = dump_from(member, tmp_path / "out")
    assert found.embeddings.shape == (40, 12)
    assert read_member(member, "net", 0).learned == 13
    engine = build_torch_engine(
        load_network(member, read_member(member, "net", 0)),
        read_member(member, "net", 0).settings,
        torch.device("cpu"),
    )
    val = read_manifest(Path("artifacts/manifest"), "val")
    pixels = open_store(val, Path("data"), Images(size=48, store="none")).gather(found.row_ids)
    np.testing.assert_allclose(found.logits, engine(torch.from_numpy(pixels))[0], atol=1e-5)
