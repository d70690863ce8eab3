"""The real `dvc repro` of `presets/tiny.yaml`: what it leaves, and what it goes on with."""

import json
import re
import shutil

import pandas as pd
import pytest
from project_copy import copy_project

pytestmark = pytest.mark.slow


def test_the_first_repro_runs_every_stage(first_run):
    _, ran = first_run
    expected = ["demo", "inputs", "prepare", "train@resnet-0", "train@efficientnet-0"]
    expected += ["dump@resnet-0", "dump@efficientnet-0", "stack", "evaluate", "label"]
    expected += ["null_model", "forensics", "outside", "perturb", "tiers"]
    expected += ["gallery", "explain", "report"]
    assert sorted(ran) == sorted(expected)


def test_all_promised_files_are_there(finished_tiny):
    files = set(finished_tiny.digest())
    assert {
        "artifacts/inputs.json",
        "artifacts/labels.csv",
        "artifacts/prediction.txt",
        "artifacts/metrics.json",
        "artifacts/held_out_metrics.json",
        "artifacts/unit_labels.csv",
        "artifacts/plots/roc.csv",
        "artifacts/plots/pr.csv",
        "artifacts/plots/shap_blocks.csv",
        "artifacts/plots/shap_columns.csv",
        "artifacts/plots/gain.csv",
        "artifacts/plots/robustness.csv",
        "artifacts/perturbed/perturbed.json",
        "artifacts/plots/roc_log.png",
        "artifacts/evaluation.parquet",
        "artifacts/gallery/gallery.json",
        "artifacts/gradcam/gradcam.json",
        "artifacts/report.html",
        "artifacts/stackers/MODEL_CARD.md",
        "artifacts/plots/without.csv",
        "artifacts/manifest/train.parquet",
        "artifacts/manifest/quarantine.csv",
        "artifacts/manifest/duplicates.csv",
        "artifacts/manifest/summary.md",
        "artifacts/null_model/facts.json",
        "artifacts/forensics/test.npy",
        "artifacts/stackers/MANIFEST.json",
        "artifacts/members/resnet/0/weights.safetensors",
        "artifacts/members/resnet/0/history.csv",
        "artifacts/dumps/efficientnet/0/test.logits.npy",
    } <= files
    assert not [name for name in files if "tmp" in name or name.endswith((".pkl", ".joblib"))]


def test_what_members_cost_is_known_and_stands_in_no_output(finished_tiny):
    names = {path.name for path in (finished_tiny.folder / ".seconds").iterdir()}
    members = ("resnet-0", "efficientnet-0")
    assert names == {f"{work}-{name}.json" for work in ("train", "dump") for name in members}
    said = finished_tiny.run("python", "-m", "stage2_ensemble.summary")
    assert re.search(r"^ *efficientnet .* [\d.]+ +[\d.]+ *$", said, re.MULTILINE)
    assert "seconds" not in json.dumps(finished_tiny.read_metrics())


@pytest.mark.fault("the order of the list to label")
def test_every_listed_image_gets_one_label_in_order(finished_tiny):
    listed = pd.read_csv(finished_tiny.folder / "data/demo/testset_nolabel.txt", dtype=str)
    labels = pd.read_csv(finished_tiny.folder / "artifacts/labels.csv", dtype={"img_name": str})
    submission = pd.read_csv(
        finished_tiny.folder / "artifacts/prediction.txt", dtype={"img_name": str}
    )
    assert list(labels["img_name"]) == list(listed["img_name"]) == list(submission["img_name"])
    assert list(submission.columns) == ["img_name", "y_pred"]
    assert labels["score"].between(0, 1).all()
    assert set(labels["label"]) <= {"real", "fake"}


def test_a_second_repro_runs_only_inputs_and_changes_no_byte(project):
    before = project.digest()
    assert project.repro() == ["inputs"]
    assert project.digest() == before


@pytest.mark.fault("no git; a fresh clone")
def test_a_fresh_clone_goes_on_with_what_is_carried(project, tmp_path):
    file = str(tmp_path / "c d é" / "carry.tar")
    project.run("python", "-m", "features.carry", "--pack", file)
    clone = copy_project(tmp_path / "fresh", "tiny")
    clone.run("python", "-m", "features.carry", "--unpack", file)
    assert clone.digest() == project.digest()
    assert clone.repro() == ["inputs"]
    assert clone.digest() == project.digest()
    assert not (clone.folder / ".store").exists()


def test_dvc_reads_metrics_and_plots(project):
    shown = json.loads(project.run("dvc", "metrics", "show", "--json"))
    values = shown[""]["data"]["artifacts/metrics.json"]["data"]
    assert values["val"]["stack"]["auc"] == project.read_metrics()["val"]["stack"]["auc"]
    page = project.run("dvc", "plots", "show")
    assert "index.html" in page
    assert "WARNING" not in page  # all plots find their columns


def test_which_reals_are_called_fake_is_shown_without_a_setting(finished_tiny):
    found = finished_tiny.read_metrics()["called_fake"]["reals"]["sources"]
    assert {source["name"] for source in found} == {"chelsea", "china", "coins"}
    page = (finished_tiny.folder / "artifacts/report.html").read_text()
    card = (finished_tiny.folder / "artifacts/stackers/MODEL_CARD.md").read_text()
    assert f"reals of {found[0]['name']}" in page
    for text in (page, card):
        assert "Of reals from other sources val tells nothing." in text


def test_where_and_whether_pixels_are_kept_changes_no_byte(project):
    before = project.digest()
    params = project.read_params()
    params["images"] |= {"store": "none", "store_dir": "elsewhere"}
    project.write_params(params)
    assert project.repro() == ["inputs"]
    project.run("python", "-m", "features.prepare")
    project.run("python", "-m", "stage1_cnn.train", "--backbone", "resnet")
    project.run("python", "-m", "stage1_cnn.dump", "--backbone", "resnet")
    assert project.digest() == before
    assert not list((project.folder / "elsewhere").glob("*/images-*"))


@pytest.mark.fault("an unknown key, a wrong type, a value out of range, an unknown network")
def test_a_wrong_key_stops_before_any_work_and_names_the_nearest(project):
    params = project.read_params()
    params["schedule"]["epoch"] = params["schedule"].pop("epochs")
    params["stack"]["inner_fold"] = 3
    project.write_params(params)
    output = project.run("dvc", "repro", check=False)
    assert "schedule.epoch: unknown; did you mean epochs?" in output
    assert "stack.inner_fold: unknown; did you mean inner_folds?" in output
    assert "train@" not in output


def test_a_member_by_hand_needs_a_folder_only_if_its_settings_differ(project):
    train = ("python", "-m", "stage1_cnn.train", "--backbone")
    output = project.run(*train, "resnet", "--set", "optimizer.lr=0.5", check=False)
    assert "--out DIR" in output
    output = project.run(*train, "resnet", "--fold", "0")
    assert "dvc commit -f train@resnet-0" in output
    assert project.repro() == ["inputs"]  # the same bytes as before
    output = project.run(*train, "resnett", check=False)
    assert "did you mean resnet?" in output


def test_a_missing_dump_names_the_stage_that_makes_it(project):
    shutil.rmtree(project.folder / "artifacts" / "dumps" / "resnet")
    output = project.run("python", "-m", "stage2_ensemble.stack", check=False)
    assert "dvc repro dump@resnet-0" in output


@pytest.mark.fault(
    "a damaged object in DVC's cache",
    "error of the stage that reads it",
    "Damaged and foreign files",
)
def test_a_damaged_file_from_the_cache_is_refused(project):
    path = project.folder / "artifacts/dumps/resnet/0/val.logits.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)
    output = project.run("python", "-m", "stage2_ensemble.evaluate", check=False)
    assert "val.logits.npy is damaged" in output
    assert "Traceback" not in output
