"""The import rule, the rooms, and that stage 2 runs where there is no torch."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("features", "stage1_cnn", "stage2_ensemble", "serving")
ALLOWED = {
    "features": {"features"},
    "stage1_cnn": {"features", "stage1_cnn"},
    "stage2_ensemble": {"features", "stage2_ensemble"},
    "serving": {"features", "stage1_cnn", "stage2_ensemble", "serving"},
}
FORBIDDEN = {
    "features": {"torch", "torchvision", "timm", "lightgbm"},
    "stage1_cnn": {"lightgbm"},
    "stage2_ensemble": {"torch", "timm", "torchvision"},
    "serving": set(),
}
FEWEST, MOST = 2, 12
"""Files of a room."""
OF_EVERY_COMMAND = {"main", "run"}
NO_SUBJECTS = {"utils", "common", "helpers", "misc"}
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ROOMS = sorted({path.parent for path in MODULES} - {ROOT / package for package in PACKAGES})


def name_file(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


def list_imports(path: Path) -> list[str]:
    """Modules, and what is taken from them, which may be a module too."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def list_parts(path: Path) -> list[str]:
    """What a room or the top of a package is made of."""
    return sorted(file.stem for file in path.glob("*.py") if file.stem != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=name_file)
def test_module_imports_only_what_its_package_may(path):
    name = path.relative_to(ROOT).as_posix()
    package = name.split("/")[0]
    roots = {imported.split(".")[0] for imported in list_imports(path)}
    assert roots & set(PACKAGES) <= ALLOWED[package]
    if name == "features/pixels/kernels.py":
        roots -= {"torch", "torchvision"}  # late, to decode and resize
    assert not roots & FORBIDDEN[package]


# --- rooms


def test_at_the_top_of_a_package_there_are_rooms_and_errors_alone():
    tops = {package: list_parts(ROOT / package) for package in PACKAGES}
    assert tops == {
        "features": ["errors"],
        "stage1_cnn": [],
        "stage2_ensemble": [],
        "serving": ["__main__"],
    }


@pytest.mark.parametrize("room", ROOMS, ids=name_file)
def test_a_room_has_a_subject_and_a_few_files(room):
    assert FEWEST <= len(list_parts(room)) <= MOST
    assert room.parent.parent == ROOT, "rooms lie in packages, not in one another"
    assert not {room.name, *list_parts(room)} & NO_SUBJECTS
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert len(tree.body) == 1, "an __init__ is one docstring"
    assert ast.get_docstring(tree)


COMMANDS = [room for room in ROOMS if (room / "__main__.py").is_file()]


@pytest.mark.parametrize("room", COMMANDS, ids=name_file)
def test_a_command_is_started_by_the_name_of_its_room(room):
    text = (room / "__main__.py").read_text(encoding="utf-8")
    assert f'run_stage("{name_file(room)}", main' in text
    assert (room / "run.py").is_file(), "what a command does; its options lie in __main__"


def test_options_are_known_before_what_takes_a_second_is_imported():
    """`--help` and a wrong setting are answered before torch, pandas and the like are there."""
    names = [f"{name_file(room)}.__main__" for room in COMMANDS]
    heavy = ["torch", "timm", "pandas", "scipy", "sklearn", "lightgbm", "PIL", "joblib", "optuna"]
    code = f"import sys, {', '.join(names)}\nprint(*({set(heavy)} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_what_other_processes_load_lies_in_no_main():
    """A worker knows `__main__` as another file, or not at all."""
    for path in ROOT.glob("*/*/__main__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "delayed":
                assert ast.unparse(node.args[0]) not in own, path


def find_place(name: str) -> str | None:
    """The room (or the file at the top of a package) that a module lies in."""
    parts = name.split(".")
    if parts[0] not in PACKAGES or len(parts) < 2:
        return None
    if (ROOT / parts[0] / parts[1]).is_dir() or (ROOT / parts[0] / f"{parts[1]}.py").is_file():
        return ".".join(parts[:2])
    return None


def list_place_imports() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in MODULES:
        place = find_place(name_file(path))
        if place:
            others = {find_place(name) for name in list_imports(path)}
            found.setdefault(place, set()).update(others - {None, place})
    return found


def test_rooms_form_no_circle():
    rest = list_place_imports()
    while free := [place for place, needs in rest.items() if not needs & rest.keys()]:
        for place in free:
            del rest[place]
    assert not rest, f"these import one another, or what does: {sorted(rest)}"


def test_files_of_a_room_form_no_circle():
    rest = {}
    for path in MODULES:
        names = {name_file(p) for p in path.parent.glob("*.py")}
        rest[name_file(path)] = set(list_imports(path)) & names - {name_file(path)}
    while free := [name for name, needs in rest.items() if not needs & rest.keys()]:
        for name in free:
            del rest[name]
    assert not rest


@pytest.mark.parametrize("path", MODULES, ids=name_file)
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def list_public_names(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return {name for name in names if not name.startswith("_")}


def test_no_two_modules_define_one_name():
    """A name that is searched for leads to one place."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for name in list_public_names(path) - OF_EVERY_COMMAND:
            places.setdefault(name, []).append(name_file(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_no_two_tests_have_one_name():
    """pytest imports them by it."""
    stems = sorted(p.stem for p in (ROOT / "tests").rglob("*.py") if p.stem != "conftest")
    stems = [stem for stem in stems if stem != "__init__"]
    assert not [one for one, other in itertools.pairwise(stems) if one == other]


# --- what is loaded


def import_in_child(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_stage_2_never_brings_torch_in():
    modules = [name_file(p) for p in MODULES if p.is_relative_to(ROOT / "stage2_ensemble")]
    modules = [name for name in modules if not name.endswith("__init__")]
    assert len(modules) > 50
    found = "{'torch', 'timm', 'torchvision'} & set(sys.modules)"
    assert import_in_child(f"import sys, {', '.join(modules)}; print({found})").strip() == "set()"


def test_checking_params_brings_neither_torch_nor_scikit_image_in():
    code = "import sys, features.inputs; print({'torch', 'skimage', 'lightgbm'} & set(sys.modules))"
    assert import_in_child(code).strip() == "set()"


def test_labelling_needs_what_is_installed_without_an_extra_alone():
    """In Python where packages of the extras cannot be imported."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [re.split(r"[>=<]", text)[0] for text in project["optional-dependencies"]["train"]]
    spelt = {"scikit_learn": "sklearn", "scikit_image": "skimage", "Jinja2": "jinja2"}
    names = {spelt.get(name.replace("-", "_"), name.replace("-", "_")) for name in extra}
    names.remove("typing_extensions")  # pydantic brings it
    code = f"""
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {sorted(names)}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuse())
import serving.diff.run, serving.explain.run, serving.label.run, serving.verify.run
print("labels")
"""
    assert {"torch", "sklearn", "pyarrow", "dvc"} < names
    assert import_in_child(code).strip() == "labels"
