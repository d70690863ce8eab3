"""docs/kaggle.ipynb, run as on Kaggle: inputs that cannot be written to, sessions that end."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from pathlib import Path

import nbformat
import packaging
import pandas as pd
import pytest
import yaml
from nbclient import NotebookClient
from project_copy import ROOT, copy_project

PATH = ROOT / "docs" / "kaggle.ipynb"
QUICK = "perturb.rows=0\nreport.rows=4"
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("FORGERYSTACK_", "DVC_", "PIP_", "PYTHONPATH"))
} | {"FORGERYSTACK_DEVICE": "cpu"}


def read_code():
    """Source of each code cell, by its id."""
    cells = nbformat.read(PATH, as_version=4).cells
    return {cell.id: cell.source for cell in cells if cell.cell_type == "code"}


def digest_tree(folder):
    """What any writing would change: contents, times and modes."""
    paths = sorted(folder.rglob("*"))
    facts = [(str(p), p.stat().st_mtime_ns, p.stat().st_mode) for p in paths]
    contents = [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths if p.is_file()]
    return facts, contents


def set_writable(folder, writable):
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | 0o200 if writable else mode & ~0o222)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, programs):
    """Read-only: the project, data, and what a session that trained one of two networks carried."""
    folder = tmp_path_factory.mktemp("notebook") / "in put é"
    project = copy_project(folder / "project", "tiny").folder
    shutil.copy(ROOT / "pyproject.toml", project)
    first = replace(copy_project(folder.parent / "first", "tiny"), programs=programs)
    first.run("python", "-m", "features.demo")
    shutil.move(first.folder / "data" / "demo", folder / "data")
    values = first.read_params()
    first.write_params(values | {"data": values["data"] | {"root": str(folder / "data")}})
    first.run("dvc", "repro", "train@resnet-0")
    first.run("python", "-m", "features.carry", "--pack", str(folder / "first.tar"))
    set_writable(folder, False)
    before = digest_tree(folder)
    yield folder
    after = digest_tree(folder)
    set_writable(folder, True)
    assert after == before


def name_places(inputs, folder, **settings):
    """Environment for a session in a new `folder`."""
    places = {
        "PROJECT": inputs / "project",
        "DATA": inputs / "data",
        "WHEELS": inputs / "wheels",
        "WORK": folder / "work",
        "OUTPUT": folder / "output",
    }
    given = {f"FORGERYSTACK_{k}": str(v) for k, v in (places | settings).items()}
    return ENVIRONMENT | {"IPYTHONDIR": str(folder / "ipython")} | given


def execute(folder, environment):
    """What the cells said, by id; raises `CellExecutionError`."""
    folder.mkdir(parents=True)
    book = nbformat.read(PATH, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=500, resources=resources).execute(env=environment)
    return {
        cell.id: "".join(out.get("text", str(out.get("data", ""))) for out in cell.outputs)
        for cell in book.cells
        if cell.cell_type == "code"
    }


def execute_plainly(folder, environment, *names, python=sys.executable):
    """Cells without a kernel, by one Python; exit code and words."""
    code = read_code()
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(python), "-c", "\n".join(code[name] for name in names)], env=environment, text=True,
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_the_stored_notebook_is_valid_and_holds_no_results():
    book = nbformat.read(PATH, as_version=4)
    nbformat.validate(book)
    for cell in book.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_places_and_settings_are_in_the_first_cell_alone():
    first, *others = read_code().values()
    assert "/kaggle/input" in first
    for source in others:
        assert not re.search(r"/kaggle|/content|setting\(", source)


@pytest.mark.faults
def test_sessions_that_end_early_add_up_to_all_labels(inputs, tmp_path):
    carried = {"CARRIED": inputs / "first.tar", "SETTINGS": QUICK}
    early = name_places(inputs, tmp_path / "1", MAX_MINUTES=0.001, **carried)
    said = execute(tmp_path / "1", early)
    assert "lacking: nothing" in said["packages"]
    assert "exited with 75" in said["run"]
    assert "Stopped in time; go on in the next session" in said["carry"]
    assert [path.name for path in (tmp_path / "1/output").iterdir()] == ["carry.tar"]
    weights = tmp_path / "1/work/artifacts/members/resnet/0/weights.safetensors"
    trained = weights.read_bytes()
    shutil.rmtree(tmp_path / "1/work")

    carried["CARRIED"] = tmp_path / "1/output/carry.tar"
    rest = name_places(inputs, tmp_path / "2", **carried)
    said = execute(tmp_path / "2", rest)
    assert "All is done." in said["carry"]
    ran = re.findall(r"Running stage '(\S+)'", said["run"])
    assert "train@efficientnet-0" in ran
    assert "goes on after step 1 of" in said["run"]
    assert not {"prepare", "train@resnet-0"} & {*ran}
    again = tmp_path / "2/work/artifacts/members/resnet/0/weights.safetensors"
    assert again.read_bytes() == trained
    assert yaml.safe_load((tmp_path / "2/work/params.yaml").read_text())["perturb"]["rows"] == 0
    assert "null model" in said["results"]
    assert "IFrame" in said["results"]
    output = tmp_path / "2/output"
    assert sorted(path.name for path in output.iterdir()) == [
        "carry.tar", "labels.csv", "prediction.txt", "report.html",
    ]  # fmt: skip
    listed = pd.read_csv(inputs / "data" / "testset_nolabel.txt")["img_name"].tolist()
    assert pd.read_csv(output / "prediction.txt")["img_name"].tolist() == listed
    assert pd.read_csv(output / "labels.csv")["img_name"].tolist() == listed


@pytest.mark.slow
def test_a_failure_is_told_from_a_stop_and_what_is_done_is_packed(inputs, tmp_path):
    environment = name_places(
        inputs, tmp_path, CARRIED=inputs / "first.tar", SETTINGS="schedule.epoch=4"
    )
    cells = ("parameters", "packages", "project", "run", "carry")
    code, said = execute_plainly(tmp_path, environment, *cells)
    assert code == 1
    assert "did you mean epochs?" in said
    assert "RuntimeError: dvc repro failed with exit code 255" in said
    assert "Stopped in time" not in said
    assert (tmp_path / "output/carry.tar").is_file()


def write_wheel(folder, name, version):
    folder.mkdir()
    facts = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(
            f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{facts}/RECORD", "")


@pytest.mark.slow
def test_what_lacks_comes_from_the_wheels_and_nothing_is_asked_for_twice(tmp_path):
    """In an environment of its own, where neither network nor torch is."""
    venv.create(tmp_path / "venv", with_pip=True)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/pyproject.toml").write_text(
        "[project]\ndependencies = []\n"
        '[project.optional-dependencies]\ntrain = ["notebook_probe>=2"]\n'
    )
    stand_ins = tmp_path / "stand-ins"
    shutil.copytree(Path(packaging.__file__).parent, stand_ins / "packaging")
    (stand_ins / "torch.py").write_text("class cuda:\n    device_count = lambda: 0\n")
    environment = name_places(tmp_path, tmp_path) | {
        "PYTHONPATH": str(stand_ins), "PIP_INDEX_URL": (tmp_path / "no index").as_uri(),
    }  # fmt: skip
    cells, python = ("parameters", "packages"), tmp_path / "venv/bin/python"
    code, said = execute_plainly(tmp_path, environment, *cells, python=python)
    assert code == 1
    assert "pip install --quiet notebook_probe>=2 failed: see above" in said
    write_wheel(tmp_path / "wheels", "notebook_probe", "2.1")
    code, said = execute_plainly(tmp_path, environment, *cells, python=python)
    assert (code, said) == (0, "lacking: notebook_probe>=2\nGPUs: 0\n")
    shutil.rmtree(tmp_path / "wheels")
    code, said = execute_plainly(tmp_path, environment, *cells, python=python)
    assert (code, said) == (0, "lacking: nothing\nGPUs: 0\n")
