"""The commands of the README and the guide, executed in a finished pipeline."""

import re
import shutil
from pathlib import Path

import pytest
from page_commands import PAGES, read_blocks
from project_copy import ROOT, Project

pytestmark = pytest.mark.slow


def list_commands(page: Path) -> list[str]:
    """Those that are executed; of make only what needs no set-up."""
    blocks = [block for block in read_blocks(page) if block.why_not is None]
    commands = [command for block in blocks for command in block.commands]
    return [c for c in commands if not c.startswith("make ") or c == "make experiments"]


WITH_COMMANDS = [
    pytest.param(page, marks=pytest.mark.scale if page.stem == "experiments" else ())
    for page in PAGES[1:]
    if list_commands(page)
]


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
    rate, f1 = (set(re.findall(r"^Running stage '(\S+)'", text, re.M)) for text in runs)
    assert {"train@resnet-0", "dump@resnet-0", "stack", "evaluate"} <= rate
    assert not {"demo", "prepare", "train@efficientnet-0", "dump@efficientnet-0"} & rate
    assert {"stack", "evaluate"} <= f1
    assert not [stage for stage in f1 if stage.startswith(("train", "dump"))]
    table = [line.strip("| ").split("|") for line in said["make experiments"].splitlines()]
    columns, _, *rows = [[cell.strip() for cell in line] for line in table if len(line) > 1]
    settings = ["decision.threshold", "backbones.resnet.optimizer.lr"]
    assert set(columns) <= {"Experiment", "val.mean.auc", "val.stack.auc", *settings}
    by_name = {
        re.sub(r".*\[(.*)\]", r"\1", row[0]): dict(zip(columns, row, strict=True)) for row in rows
    }
    assert [by_name["f1"][name] for name in settings] == ["f1", "-"]
    assert [by_name["rate"][name] for name in settings] == ["balanced_accuracy", "0.001"]
    (told,) = [text for command, text in said.items() if command.startswith("dvc metrics diff")]
    assert re.search(r"^\| val\.stack\.auc_high +\| [\d.]+ +\| [\d.]+ +\|", told, re.M)
    assert all("index.html" in text for command, text in said.items() if "dvc plots" in command)
    assert clone.read_params()["backbones"]["resnet"]["optimizer"] == {"lr": 0.001}
    assert clone.run("git", "status", "--short") == ""  # no output of DVC is in git's way
    assert clone.run("dvc", "exp", "list", "-A") == ""
