"""Every command of the README and the guide could run; test_page_commands.py executes most."""

import re
import subprocess
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from page_commands import PAGES, ROOT, find_problem, read_blocks

from features.inputs.settings import check_all_params
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
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                name, _, anchor = target.partition("#")
                there = (page.parent / name) if name else page
                assert there.exists(), f"{page.name}: {target}"
                assert not anchor or anchor in list_anchors(there), f"{page.name}: {target}"


def list_anchors(page):
    """As the headings of a page are linked to: small letters, digits and hyphens."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_settings_of_the_guide_go_into_the_file_as_it_is():
    """Whoever copies a block over what `params.yaml` says there can run it."""
    shipped, found = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8")), 0
    for page in PAGES:
        for text in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            changed = yaml.safe_load(text)
            if "services" in changed:  # of Docker Compose
                continue
            values = shipped | changed
            for name in changed.keys() - {"backbones", "outside"}:
                values[name] = shipped[name] | changed[name]
            check_all_params(values, page.name)
            found += 1
    assert found > 15


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
