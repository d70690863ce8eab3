"""The import rule, the layout, and that stage 2 runs where there is no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "stage1_cnn", "stage2_ensemble")
ALLOWED = {
    "features": {"features"},
    "stage1_cnn": {"features", "stage1_cnn"},
    "stage2_ensemble": {"features", "stage2_ensemble"},
}
FORBIDDEN = {
    "features": {"torch", "torchvision", "timm", "lightgbm"},
    "stage1_cnn": {"lightgbm"},
    "stage2_ensemble": {"torch", "timm", "torchvision"},
}
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).glob("*.py"))]


def list_imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_module_imports_only_what_its_package_may(path):
    package = path.parent.name
    roots = {name.split(".")[0] for name in list_imports(path)}
    assert roots & set(PACKAGES) <= ALLOWED[package]
    if path.relative_to(ROOT).as_posix() == "features/images.py":
        roots -= {"torch", "torchvision"}  # late, to decode and resize
    assert not roots & FORBIDDEN[package]


def test_packages_are_flat_and_modules_have_a_subject():
    for package in PACKAGES:
        assert not [p for p in (ROOT / package).rglob("*.py") if p.parent != ROOT / package]
        stems = {path.stem for path in (ROOT / package).glob("*.py")}
        assert not stems & {"utils", "common", "helpers"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def import_in_child(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_stage_2_never_brings_torch_in():
    modules = [f"stage2_ensemble.{p.stem}" for p in (ROOT / "stage2_ensemble").glob("[a-z]*.py")]
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    assert import_in_child(code).strip() == "False"


def test_checking_params_brings_neither_torch_nor_scikit_image_in():
    code = "import sys, features.inputs; print({'torch', 'skimage', 'lightgbm'} & set(sys.modules))"
    assert import_in_child(code).strip() == "set()"
