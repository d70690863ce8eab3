"""`dvc.yaml` against the code: each stage's module says what it reads, writes and depends on."""

import ast
import importlib.util
import re
import typing
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from features.inputs.settings import check_all_params
from features.settings.sections import StageParams

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "stage1_cnn", "stage2_ensemble")
UNTRACKED = {
    "images below data.root": "sizes of a sample are checked by whoever opens them",
    "label files and images below data.root": "digests of lists and folders stand in inputs.json",
    "label files and class folders below data.root": "inputs always runs",
    "data.label_overrides": "its digest stands in inputs.json",
    "pretrained weights": "digests of files stand in artifacts/weights, else named by params",
    "params.yaml": "inputs always runs",
    ".seconds": "for the log alone",
    "tables of scores": "their digests stand in outside_inputs.json",
}
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = PIPELINE["stages"]
AUCS = ("features/core/auc.py", "features/core/number_text.py")
OF_CORE = (*AUCS, "features/core/members.py")
MANIFEST = ("features/core/manifest.py", "features/core/manifest_columns.py")
SUMS, TRUSTED = "features/core/sums.py", "features/core/trusted.py"
LINE = "stage2_ensemble/measures/calibration_line.py"
TAR = "features/shards/tar.py"
JOINED = "stage1_cnn/networks/joined_network.py"
OF_CHANGED = {
    *(*AUCS, SUMS, TAR, JOINED, "features/forensics/__main__.py", "features/forensics/run.py"),
    "stage1_cnn/dump/embedded_parts.py",
    *("features/forensics/measuring.py", "features/forensics/settings.py"),
    *("stage1_cnn/augment/augmenter.py", "stage1_cnn/augment/mixing.py"),
    *("stage1_cnn/augment/self_blend.py", "stage1_cnn/dump/__main__.py"),
    *("stage1_cnn/damage/chains.py", "stage1_cnn/damage/squares.py", "stage1_cnn/dump/run.py"),
}
ROOM_MATES = {
    "inputs": {*OF_CORE, SUMS, *MANIFEST},
    "prepare": {*OF_CORE},
    "null_model": {"features/core/members.py", SUMS, TRUSTED},
    "forensics": {*OF_CORE, SUMS, TAR},
    "train": {TAR},
    "dump": {SUMS, TAR, "stage1_cnn/frozen/head.py"},
    "outside": {
        *(SUMS, "features/lists/class_folders.py", "features/lists/label_file.py"),
        *("features/lists/shard_files.py", "features/lists/shard_listing.py"),
        "features/lists/shards.py",
    },
    "perturb": OF_CHANGED,
    "tiers": {*OF_CHANGED, "stage1_cnn/perturb/__main__.py", "stage1_cnn/perturb/run.py"},
    "stack": {TRUSTED, LINE},
    "evaluate": {TRUSTED, "features/artifacts/gradcam.py", "features/artifacts/row_blocks.py"},
    "gallery": {
        *(TRUSTED, LINE),
        *("features/artifacts/gradcam.py", "features/artifacts/null_model.py"),
        "features/artifacts/row_blocks.py",
        *("stage2_ensemble/findings/backbones.py", "stage2_ensemble/findings/called_fake.py"),
        *("stage2_ensemble/findings/corrected_labels.py", "stage2_ensemble/findings/domains.py"),
        *("stage2_ensemble/findings/final_run.py", "stage2_ensemble/findings/promises.py"),
        *("stage2_ensemble/findings/outside.py", "stage2_ensemble/findings/rule_checks.py"),
        *("stage2_ensemble/explanations/reasons.py", "stage2_ensemble/findings/robustness.py"),
        "stage2_ensemble/explanations/shapes.py",
        *("stage2_ensemble/findings/scorers.py", "stage2_ensemble/results/metrics_file.py"),
    },
    "explain": {*AUCS, SUMS, TAR, JOINED},
    "label": {TRUSTED, LINE},
    "report": {
        *("features/artifacts/null_model.py", "features/artifacts/row_blocks.py", TAR),
        *("features/pixels/cache.py", "features/pixels/facts.py", "features/pixels/scanning.py"),
        *("features/pixels/store.py", "features/pixels/thumbnails.py"),
        *("stage2_ensemble/findings/backbones.py", "stage2_ensemble/findings/called_fake.py"),
        *("stage2_ensemble/findings/corrected_labels.py", "stage2_ensemble/findings/final_run.py"),
        *("stage2_ensemble/explanations/reasons.py", "stage2_ensemble/findings/rule_checks.py"),
        "stage2_ensemble/explanations/shapes.py",
        "stage2_ensemble/findings/outside.py",
        *("stage2_ensemble/gallery/__main__.py", "stage2_ensemble/gallery/run.py"),
        *("stage2_ensemble/gallery/neighbours.py", "stage2_ensemble/sentences/log.py"),
    },
}
"""By stage the files of its rooms that it does not import: to change one of them runs it again."""
PRESETS = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]


def find_module(stage: str) -> Path:
    module = re.match(r"python -m (\S+)", STAGES[stage]["cmd"])[1]
    return find_file(module) or ROOT / module


def find_file(module: str) -> Path | None:
    """A module, or the `__main__` of a folder."""
    place = ROOT / module.replace(".", "/")
    found = [place.with_suffix(".py"), place / "__main__.py"]
    return next((path for path in found if path.is_file()), None)


def is_exempt(path: Path) -> bool:
    """Its change alters no result."""
    place = path.relative_to(ROOT)
    return place.as_posix() == "features/errors.py" or place.parent.name == "runtime"


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
    """The module and all that it imports; an `__init__` is a docstring."""
    seen, waiting = set(), [path]
    while waiting:
        module = waiting.pop()
        if module not in seen and not is_exempt(module):
            seen.add(module)
            waiting += list_local_imports(module)
    return {module.relative_to(ROOT).as_posix() for module in seen}


def list_code(stage: str) -> dict[str, set[str]]:
    """By code dependency the modules that it covers."""
    covered = {}
    for dep in list_paths(stage, "deps"):
        if dep.split("/")[0] in PACKAGES:
            place = ROOT / dep
            files = place.rglob("*.py") if place.is_dir() else [place]
            names = {p.relative_to(ROOT).as_posix() for p in files if p.stem != "__init__"}
            covered[dep] = names
    return covered


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
def test_all_that_a_stage_imports_is_a_code_dependency(stage):
    covered = set().union(*list_code(stage).values())
    assert find_closure(find_module(stage)) <= covered


@pytest.mark.parametrize("stage", STAGES)
def test_each_code_dependency_holds_something_that_the_stage_imports(stage):
    closure = find_closure(find_module(stage))
    for dep, files in list_code(stage).items():
        assert files & closure, dep
        assert (ROOT / dep).exists()


@pytest.mark.parametrize("stage", STAGES)
def test_no_file_is_a_code_dependency_twice(stage):
    named = [file for files in list_code(stage).values() for file in files]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("stage", STAGES)
def test_what_else_lies_in_the_rooms_of_a_stage_is_known(stage):
    covered = set().union(*list_code(stage).values())
    assert covered - find_closure(find_module(stage)) == ROOM_MATES.get(stage, set())


def test_what_changes_no_result_is_no_dependency():
    for stage in STAGES:
        assert not [dep for dep in list_code(stage) if is_exempt(ROOT / dep / "x.py")]
        assert not [dep for dep in list_code(stage) if is_exempt(ROOT / dep)]


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        (
            "features/pixels/decoding.py",
            "prepare forensics train dump perturb tiers explain report",
        ),
        ("features/crops/places.py", "train dump perturb tiers explain"),
        ("features/caching/filling.py", "prepare forensics train dump perturb tiers explain"),
        ("features/prepare/near_duplicates.py", "prepare"),
        ("features/lists/class_folders.py", "prepare outside"),
        ("features/shards/tar.py", "prepare forensics train dump perturb tiers explain report"),
        ("features/forensics/dct.py", "forensics perturb tiers"),
        ("features/null_model/model.py", "null_model"),
        ("features/outside/matching.py", "outside"),
        ("features/artifacts/outside.py", "outside stack evaluate gallery label report"),
        ("features/inputs/weights.py", "inputs train dump perturb tiers explain"),
        ("features/settings/stacking.py", "inputs stack evaluate gallery label report"),
        ("stage1_cnn/augment/mixing.py", "train perturb tiers"),
        ("stage1_cnn/losses/focal.py", "train"),
        ("stage1_cnn/scoring/views.py", "train dump perturb tiers"),
        ("stage2_ensemble/gate/gate.py", "stack evaluate gallery label report"),
        ("stage2_ensemble/charts/curves.py", "evaluate report"),
        ("stage2_ensemble/gallery/choosing.py", "gallery report"),
        ("stage2_ensemble/display/tables.py", "report"),
        ("features/runtime/locks.py", ""),
        ("stage1_cnn/runtime/launch.py", ""),
        ("stage1_cnn/train_all/plan.py", ""),
        ("stage1_cnn/compare/table.py", ""),
        ("stage2_ensemble/tune/search.py", ""),
    ],
)
def test_which_stages_a_change_runs_again(changed, stages):
    """By themselves; further ones follow where a result is another one then."""
    assert (ROOT / changed).is_file()
    again = [s for s in STAGES if changed in set().union(*list_code(s).values())]
    assert again == stages.split()


@pytest.mark.parametrize("stage", STAGES)
def test_docstring_reads_are_the_data_dependencies(stage):
    data = list_paths(stage, "deps") - set(list_code(stage))
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
