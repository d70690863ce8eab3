"""A finished pipeline whose settings or data change: what runs again, and what comes of it."""

import json

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from browser import open_page
from PIL import Image
from project_copy import Project
from safetensors.torch import save_file

pytestmark = pytest.mark.slow


def test_changing_one_backbone_runs_it_and_what_follows(project):
    params = project.read_params()
    params["backbones"]["resnet"]["optimizer"] = {"lr": 1e-3}
    project.write_params(params)
    assert "train@efficientnet-0" not in (ran := project.repro("evaluate"))
    assert {"inputs", "train@resnet-0", "dump@resnet-0", "stack", "evaluate"} <= set(ran)
    assert not {"demo", "prepare", "dump@efficientnet-0"} & set(ran)


@pytest.mark.scale
def test_other_weights_in_a_file_of_the_same_name_train_its_backbone_alone(project):
    params = project.read_params()
    params["backbones"]["resnet"]["pretrained"] = "start.safetensors"
    project.write_params(params)
    model = params["backbones"]["resnet"]["model"]
    for seed in (1, 2):
        torch.manual_seed(seed)
        start = timm.create_model(model).state_dict()
        save_file(start, project.folder / "start.safetensors")
        ran = project.repro("dump@resnet-0", "train@efficientnet-0")
        assert {"train@resnet-0", "dump@resnet-0"} <= set(ran)
        assert "train@efficientnet-0" not in ran
        assert project.repro("dump@resnet-0") == ["inputs"]


@pytest.mark.scale
def test_a_removed_backbone_is_gone_from_every_result(project):
    params = project.read_params()
    del params["backbones"]["resnet"]
    project.write_params(params)
    ran = project.repro("evaluate")
    assert not [stage for stage in ran if stage.startswith(("train", "dump", "prepare"))]
    assert list(project.read_metrics()["val"]["members"]) == ["efficientnet-0"]
    for place in ("members", "dumps"):  # DVC's digest of them is that of who pulls them
        there = {path.name for path in (project.folder / "artifacts" / place).iterdir()}
        assert there == {"efficientnet"}
    ensemble = json.loads((project.folder / "artifacts/stackers/ensemble.json").read_text())
    names = ensemble["models"]["lightgbm"]["names"]
    assert names
    assert not [name for name in names if "resnet" in name]


def digest_stackers(project: Project) -> dict[str, str]:
    """But for the model card, which tells of val."""
    files = project.digest().items()
    return {k: v for k, v in files if "/stackers/" in k and not k.endswith(".md")}


@pytest.mark.scale
def test_ten_new_test_images_and_a_mended_val_label_retrain_nothing(project):
    data = project.folder / "data" / "demo"
    rng = np.random.default_rng(0)
    names = [f"new{i}.png" for i in range(10)]
    for name in names:
        pixels = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / "testset" / name)
    listed = data / "testset_nolabel.txt"
    listed.write_text(listed.read_text() + "\n".join(names) + "\n")
    labels = data / "valset_label.txt"
    header, first, *rest = labels.read_text().splitlines()
    name, target, *others = first.split(",")
    mended = ",".join([name, str(1 - int(target)), *others])
    labels.write_text("\n".join([header, mended, *rest]) + "\n")
    project.run("dvc", "commit", "-f", "demo")
    stackers = digest_stackers(project)
    ran = project.repro("evaluate", "label")
    assert not [stage for stage in ran if stage.startswith("train")]
    assert {"prepare", "label", "evaluate"} <= set(ran)
    answers = pd.read_csv(project.folder / "artifacts/labels.csv")
    assert list(answers["img_name"][-10:]) == names
    assert digest_stackers(project) == stackers


@pytest.mark.scale
def test_a_held_out_generator_is_measured_apart(project):
    params = project.read_params()
    params["split"]["hold_out"] = {"generator": "smooth"}
    del params["backbones"]["efficientnet"]
    project.write_params(params)
    project.repro("evaluate")
    metrics = project.read_metrics()
    assert metrics["rows"]["val"] == {"reals": 24, "fakes": 36}  # as without
    held = metrics["domains"]["held_out"]
    assert held["against"] == f"{held['fakes']} held-out fakes against 24 seen reals"
    gap = metrics["domains"]["gap"]
    assert gap["auc_low"] < gap["auc"] < gap["auc_high"]


@pytest.mark.scale
def test_the_last_answer_learns_from_val_and_quotes_the_run_before(project):
    before, trained = project.read_metrics(), project.digest()
    params = project.read_params()
    params["data"]["final"] = True
    del params["backbones"]["efficientnet"]  # it would take as long again
    project.write_params(params)
    stages = ["inputs", "prepare", "null_model", "forensics", "outside"]
    stages += ["train@resnet-0", "dump@resnet-0"]
    stages += ["perturb", "tiers", "stack", "evaluate", "label", "gallery", "explain", "report"]
    assert sorted(project.repro()) == sorted(stages)
    after, folder = project.digest(), project.folder / "artifacts"
    weights = "artifacts/members/resnet/0/weights.safetensors"
    assert after[weights] != trained[weights]
    kept = "artifacts/held_out_metrics.json"
    assert after[kept] == trained[kept]
    rows = pd.read_parquet(folder / "manifest/train.parquet")
    assert (len(rows), len(pd.read_parquet(folder / "manifest/val.parquet"))) == (180, 0)
    metrics, stack = project.read_metrics(), before["val"]["stack"]
    assert metrics["val"] is None
    assert {k: metrics["earlier"][k] for k in ("auc", "auc_low", "auc_high")} == {
        k: stack[k] for k in ("auc", "auc_low", "auc_high")
    }
    assert pd.read_csv(folder / "labels.csv")["score"].between(0, 1).all()
    shown = project.run("dvc", "metrics", "show")
    assert "no held-out val: data.final is true" in shown
    assert project.repro() == ["inputs"]
    assert project.digest() == after


def test_labels_marked_in_the_report_come_back_through_prepare(browser, project):
    with open_page(browser, project.folder / "artifacts" / "report.html") as opened:
        page = opened.page
        page.select_option("#kind", "all")
        page.locator(".tile").first.click()
        name = page.locator("#detail-name").inner_text()
        page.keyboard.press("w")
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            page.locator("#download").click()
        download.value.save_as(project.folder / "review.csv")
        assert opened.complaints == []
        assert not [url for url in opened.requests if url.startswith("http")]
    params = project.read_params()
    params["data"]["label_overrides"] = "review.csv"
    project.write_params(params)
    ran = project.run("dvc", "repro", "prepare")
    assert "Running stage 'prepare'" in ran
    val = pd.read_parquet(project.folder / "artifacts/manifest/val.parquet")
    (row,) = val[val["override"] >= 0].itertuples()
    assert row.img_name == name
    assert row.override == 1 - row.label
