"""`dvc.yaml` against the code: each stage's module says what it reads, writes and depends on."""

import ast
import importlib.util
import re
import typing
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from features.all_params import check_all_params
from features.params import StageParams

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "stage1_cnn", "stage2_ensemble")
EXEMPT = {
    *("errors", "cli", "progress", "terminal", "closing", "budget", "budget_params", "__init__"),
    *("resume_params", "interruption", "launch", "checkpoints", "session", "locks", "seconds"),
    "input_wait",
}
"""Modules whose change alters no result."""
UNTRACKED = {
    "images below data.root": "sizes of a sample are checked by whoever opens them",
    "label files and images below data.root": "digests of lists and folders stand in inputs.json",
    "label files and class folders below data.root": "inputs always runs",
    "data.label_overrides": "its digest stands in inputs.json",
    "pretrained weights": "named by params",
    "params.yaml": "inputs always runs",
    ".seconds": "for the log alone",
}
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = PIPELINE["stages"]
PRESETS = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]


def find_module(stage: str) -> Path:
    module = re.match(r"python -m (\S+)", STAGES[stage]["cmd"])[1]
    return ROOT / f"{module.replace('.', '/')}.py"


def list_local_imports(path: Path) -> set[Path]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            target = ROOT / f"{name.replace('.', '/')}.py"
            if name.split(".")[0] in PACKAGES and target.is_file():
                found.add(target)
    return found


def find_closure(path: Path) -> set[str]:
    seen, waiting = set(), [path]
    while waiting:
        module = waiting.pop()
        if module not in seen and module.stem not in EXEMPT:
            seen.add(module)
            waiting += list_local_imports(module)
    return {module.relative_to(ROOT).as_posix() for module in seen}


def read_docstring(stage: str, field: str) -> set[str]:
    text = ast.get_docstring(ast.parse(find_module(stage).read_text(encoding="utf-8")))
    found = re.search(rf"^{field}: (.*(?:\n    .*)*)", text, re.MULTILINE)
    assert found, f"the docstring of {stage} has no line {field}:"
    items = {" ".join(item.split()) for item in found[1].split(",")}
    return set() if items == {"–"} else items


def plain(value: str) -> str:
    return value.replace("${item.backbone}", "<backbone>").replace("${item.fold}", "<fold>")


def list_paths(stage: str, *kinds: str) -> set[str]:
    entries = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    return {plain(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries}


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_are_the_import_closure(stage):
    code = {path for path in list_paths(stage, "deps") if path.endswith(".py")}
    assert code == find_closure(find_module(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_reads_are_the_data_dependencies(stage):
    data = {path for path in list_paths(stage, "deps") if not path.endswith(".py")}
    assert data == read_docstring(stage, "Reads") - set(UNTRACKED)


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_writes_are_the_outs(stage):
    assert list_paths(stage, "outs", "metrics", "plots") == read_docstring(stage, "Writes")


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_params_are_the_tracked_ones(stage):
    assert {plain(p) for p in STAGES[stage].get("params", [])} == read_docstring(stage, "Params")


def load_stage_model(stage: str) -> type[StageParams] | None:
    """The params model that a stage's module names in its `load_params(…)` call."""
    path = find_module(stage)
    call = re.search(r"load_params\((\w+)", path.read_text(encoding="utf-8"))
    if call is None:
        return None
    spec = importlib.util.spec_from_file_location(f"contract_{stage}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, call[1])


@pytest.mark.parametrize("stage", [s for s in STAGES if s != "inputs"])
def test_tracked_params_are_the_fields_of_the_stages_model(stage):
    model = load_stage_model(stage)
    tracked = {plain(p) for p in STAGES[stage]["params"]}
    assert {name.split(".")[0] for name in tracked} == set(model.model_fields)
    for name, field in model.model_fields.items():
        parts = {p for p in tracked if p.startswith(f"{name}.")}
        nested = field.annotation
        if name in tracked or not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            continue
        # Where and whether pixels are kept never enters a hash; all else that is read is tracked.
        untracked = {f"{name}.{key}" for key in nested.model_fields} - parts
        assert untracked <= {"images.store_dir", "images.store"}


def test_matrix_runs_over_the_mapping_of_backbones_and_the_active_folds():
    for stage in ("train", "dump"):
        assert STAGES[stage]["matrix"] == {"backbone": "${backbones}", "fold": "${folds.active}"}


def test_only_inputs_always_runs():
    assert [name for name, stage in STAGES.items() if stage.get("always_changed")] == ["inputs"]


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_params_file_is_valid_and_holds_all_that_dvc_tracks(path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    check_all_params(values, path.name)
    for stage in STAGES.values():
        for name in stage.get("params", []):
            node: typing.Any = values
            backbone = next(iter(values["backbones"]))
            for part in name.replace("${item.backbone}", backbone).split("."):
                assert part in node, f"{path.name} lacks {name}"
                node = node[part]
