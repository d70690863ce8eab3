"""Every command of the README and the guide could run; test_page_commands.py executes most."""

import re
import subprocess
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from page_commands import PAGES, ROOT, find_problem, read_blocks

from stage2_ensemble.results.form import ValMetrics

BLOCKS = [block for page in PAGES for block in read_blocks(page)]
COMMANDS = [(block.page, command) for block in BLOCKS for command in block.commands]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_what_a_command_names_is_there(page, command):
    assert find_problem(command) is None


def test_what_is_only_parsed_says_why():
    assert all(block.why_not is None or len(block.why_not) > 5 for block in BLOCKS)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("python -m stage1_cnn.trane --fold 0", "there is no module stage1_cnn.trane"),
        (
            "python -m stage2_ensemble.tune --trails 3",
            "stage2_ensemble.tune has no option --trails",
        ),
        ("forgerystack lable x.jpg", "there is no module serving.lable"),
        ("forgerystack label x.jpg --bundel b", "serving.label has no option --bundel"),
        ("A=1 dvc repro && make demmo", "make has no target demmo"),
        ("dvc exp rum", "dvc exp rum"),
        ("dvc metrics diff --no-paths | grep auc", "dvc metrics diff --no-paths"),
        ("python -m benchmarks.stacker --fast", "benchmarks.stacker has no option --fast"),
        ("pipp install forgerystack", "pipp: not known"),
    ],
)
def test_what_is_not_there_is_found(command, problem):
    assert (find_problem(command) or "").startswith(problem)


def test_blocks_comments_and_marks_are_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```sh\nmake demo    # all of it\n\ndvc exp run \\\n  -S 'a=1'\n```\n\nText.\n\n"
        "<!-- parsed only: needs a GPU -->\n```sh\n# nothing but this\ndvc repro\n```\n"
        "```\nno command\n```\n"
    )
    first, second = read_blocks(page)
    assert (first.commands, first.why_not) == (("make demo", "dvc exp run    -S 'a=1'"), None)
    assert (second.commands, second.why_not) == (("dvc repro",), "needs a GPU")


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_table_of_experiments_has_settings_and_two_figures():
    text = subprocess.run(
        ["make", "-n", "experiments"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    dropped = re.compile(re.search(r"--drop '(.+)'", text)[1])
    names = ("Experiment", "val.stack.auc", "val.mean.auc", "seed", "decision.threshold")
    names += ("backbones.a.optimizer.lr", "backbones.a.model", "outside.b.scores")
    assert not [name for name in names if dropped.search(name)]
    measured = ["val.lightgbm.auc", *(f"{part}.x" for part in get_type_hints(ValMetrics))]
    assert [name for name in measured if not dropped.search(name)] == []


def test_the_table_of_experiments_knows_all_settings_that_change_a_result():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.search(r"^SETTINGS := (.+)$", text, re.M)[1].split("|"))
    files = [ROOT / "params.yaml", *sorted(Path(ROOT / "presets").glob("*.yaml"))]
    sections = {name for path in files for name in yaml.safe_load(path.read_text("utf-8"))}
    assert known == sections - {"budget", "compare", "dask", "demo", "scans", "weights"}
