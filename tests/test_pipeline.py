"""The real `dvc repro` of `presets/tiny.yaml`, in a clone of its own, changed step by step."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import find_browser, open_page
from page_commands import PAGES, read_blocks
from PIL import Image
from project_copy import Project, copy_project

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny pipeline after its first `dvc repro`. Folder with a space and an accent."""
    project = copy_project(tmp_path_factory.mktemp("pipeline") / "a b é", "tiny")
    expected = ["demo", "inputs", "prepare", "train@resnet-0", "train@efficientnet-0"]
    expected += ["dump@resnet-0", "dump@efficientnet-0", "stack", "evaluate", "label"]
    expected += ["null_model", "forensics", "perturb", "gallery", "explain", "report"]
    assert sorted(project.repro()) == sorted(expected)
    return project


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished project, to change. Hard links into DVC's cache are copied too."""
    target = tmp_path / "copy"
    shutil.copytree(finished.folder, target)
    return Project(target)


def test_all_promised_files_are_there(finished):
    files = set(finished.digest())
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


def test_what_members_cost_is_known_and_stands_in_no_output(finished):
    names = {path.name for path in (finished.folder / ".seconds").iterdir()}
    members = ("resnet-0", "efficientnet-0")
    assert names == {f"{work}-{name}.json" for work in ("train", "dump") for name in members}
    said = finished.run("python", "-m", "stage2_ensemble.summary")
    assert re.search(r"^ *efficientnet .* [\d.]+ +[\d.]+ *$", said, re.MULTILINE)
    assert "seconds" not in json.dumps(finished.read_metrics())


@pytest.mark.fault("the order of the list to label")
def test_every_listed_image_gets_one_label_in_order(finished):
    listed = pd.read_csv(finished.folder / "data/demo/testset_nolabel.txt", dtype=str)
    labels = pd.read_csv(finished.folder / "artifacts/labels.csv", dtype={"img_name": str})
    submission = pd.read_csv(finished.folder / "artifacts/prediction.txt", dtype={"img_name": str})
    assert list(labels["img_name"]) == list(listed["img_name"]) == list(submission["img_name"])
    assert list(submission.columns) == ["img_name", "y_pred"]
    assert labels["score"].between(0, 1).all()
    assert set(labels["label"]) <= {"real", "fake"}


def test_a_second_repro_runs_only_inputs_and_changes_no_byte(finished):
    before = finished.digest()
    assert finished.repro() == ["inputs"]
    assert finished.digest() == before


@pytest.mark.fault("no git; a fresh clone")
def test_a_fresh_clone_goes_on_with_what_is_carried(finished, tmp_path):
    file = str(tmp_path / "c d é" / "carry.tar")
    finished.run("python", "-m", "features.carry", "--pack", file)
    clone = copy_project(tmp_path / "fresh", "tiny")
    clone.run("python", "-m", "features.carry", "--unpack", file)
    assert clone.digest() == finished.digest()
    assert clone.repro() == ["inputs"]
    assert clone.digest() == finished.digest()
    assert not (clone.folder / ".store").exists()


def test_dvc_reads_metrics_and_plots(finished):
    shown = json.loads(finished.run("dvc", "metrics", "show", "--json"))
    values = shown[""]["data"]["artifacts/metrics.json"]["data"]
    assert values["val"]["stack"]["auc"] == finished.read_metrics()["val"]["stack"]["auc"]
    page = finished.run("dvc", "plots", "show")
    assert "index.html" in page
    assert "WARNING" not in page  # all plots find their columns


def test_which_reals_are_called_fake_is_shown_without_a_setting(finished):
    found = finished.read_metrics()["called_fake"]["reals"]["sources"]
    assert {source["name"] for source in found} == {"chelsea", "china", "coins"}
    page = (finished.folder / "artifacts/report.html").read_text()
    card = (finished.folder / "artifacts/stackers/MODEL_CARD.md").read_text()
    assert f"reals of {found[0]['name']}" in page
    for text in (page, card):
        assert "Of reals from other sources val tells nothing." in text


def test_changing_one_backbone_runs_it_and_what_follows(project):
    params = project.read_params()
    params["backbones"]["resnet"]["optimizer"] = {"lr": 1e-3}
    project.write_params(params)
    assert "train@efficientnet-0" not in (ran := project.repro())
    assert {"inputs", "train@resnet-0", "dump@resnet-0", "stack", "evaluate"} <= set(ran)
    assert not {"demo", "prepare", "dump@efficientnet-0"} & set(ran)


def test_a_removed_backbone_is_gone_from_every_result(project):
    params = project.read_params()
    del params["backbones"]["resnet"]
    project.write_params(params)
    ran = project.repro()
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
    ran = project.repro()
    assert not [stage for stage in ran if stage.startswith("train")]
    assert {"prepare", "label", "evaluate"} <= set(ran)
    answers = pd.read_csv(project.folder / "artifacts/labels.csv")
    assert list(answers["img_name"][-10:]) == names
    assert digest_stackers(project) == stackers


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
    assert not (project.folder / "elsewhere/48px-3/images.bin").stat().st_size


def test_a_held_out_generator_is_measured_apart(project):
    params = project.read_params()
    params["split"]["hold_out"] = {"generator": "smooth"}
    del params["backbones"]["efficientnet"]
    project.write_params(params)
    project.repro()
    metrics = project.read_metrics()
    assert metrics["rows"]["val"] == {"reals": 24, "fakes": 36}  # as without
    held = metrics["domains"]["held_out"]
    assert held["against"] == f"{held['fakes']} held-out fakes against 24 seen reals"
    gap = metrics["domains"]["gap"]
    assert gap["auc_low"] < gap["auc"] < gap["auc_high"]


def test_the_last_answer_learns_from_val_and_quotes_the_run_before(project):
    before, trained = project.read_metrics(), project.digest()
    params = project.read_params()
    params["data"]["final"] = True
    del params["backbones"]["efficientnet"]  # it would take as long again
    project.write_params(params)
    stages = ["inputs", "prepare", "null_model", "forensics", "train@resnet-0", "dump@resnet-0"]
    stages += ["perturb", "stack", "evaluate", "label", "gallery", "explain", "report"]
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


def test_labels_marked_in_the_report_come_back_through_prepare(project):
    find_browser()
    with open_page(project.folder / "artifacts" / "report.html") as opened:
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


def list_commands(page: Path) -> list[str]:
    """Those that are executed; of make only what needs no set-up."""
    blocks = [block for block in read_blocks(page) if block.why_not is None]
    commands = [command for block in blocks for command in block.commands]
    return [c for c in commands if not c.startswith("make ") or c == "make experiments"]


WITH_COMMANDS = [page for page in PAGES[1:] if list_commands(page)]


def test_every_command_of_the_readme_runs(project):
    """The stacker alone too: it makes the same bytes from the dumps that are there."""
    commands = list_commands(PAGES[0])
    assert "dvc repro" in commands
    assert "python -m stage2_ensemble.stack" in commands
    shutil.rmtree(project.folder / "artifacts" / "stackers")
    before = project.digest()
    for command in commands:
        if command != "dvc repro":
            project.run("bash", "-ec", command)
    after = project.digest()
    assert {name: after[name] for name in before} == before


@pytest.fixture
def clone(project) -> Project:
    """As a clone is after its first `dvc repro`: all but dvc.lock is committed."""
    shutil.copy(ROOT / "Makefile", project.folder)
    for name, value in (("name", "A B"), ("email", "a@b.example")):
        project.run("git", "config", f"user.{name}", value)
    project.run("git", "add", "--all")
    project.run("git", "reset", "-q", "dvc.lock")
    project.run("git", "commit", "-q", "-m", "Begin")
    return project


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_every_command_of_the_guide_runs(clone, page):
    said = {command: clone.run("bash", "-ec", command) for command in list_commands(page)}
    if page.stem == "experiments":
        check_experiments(clone, said)


def check_experiments(clone: Project, said: dict[str, str]) -> None:
    """What the page says of its commands."""
    runs = [text for command, text in said.items() if command.startswith("dvc exp run")]
    rate, leaves = (set(re.findall(r"^Running stage '(\S+)'", text, re.M)) for text in runs)
    assert {"train@resnet-0", "dump@resnet-0", "stack", "evaluate"} <= rate
    assert not {"demo", "prepare", "train@efficientnet-0", "dump@efficientnet-0"} & rate
    assert {"stack", "evaluate"} <= leaves
    assert not [stage for stage in leaves if stage.startswith(("train", "dump"))]
    table = [line.strip("| ").split("|") for line in said["make experiments"].splitlines()]
    columns, _, *rows = [[cell.strip() for cell in line] for line in table if len(line) > 1]
    settings = ["stack.num_leaves", "backbones.resnet.optimizer.lr"]
    assert set(columns) <= {"Experiment", "val.mean.auc", "val.stack.auc", *settings}
    by_name = {
        re.sub(r".*\[(.*)\]", r"\1", row[0]): dict(zip(columns, row, strict=True)) for row in rows
    }
    assert [by_name["leaves"][name] for name in settings] == ["7", "-"]
    assert [by_name["rate"][name] for name in settings] == ["-", "0.001"]
    (told,) = [text for command, text in said.items() if command.startswith("dvc metrics diff")]
    assert re.search(r"^\| val\.stack\.auc_high +\| [\d.]+ +\| [\d.]+ +\|", told, re.M)
    assert all("index.html" in text for command, text in said.items() if "dvc plots" in command)
    assert clone.read_params()["backbones"]["resnet"]["optimizer"] == {"lr": 0.001}
    assert clone.run("git", "status", "--short") == ""  # no output of DVC is in git's way
    assert clone.run("dvc", "exp", "list", "-A") == ""


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
