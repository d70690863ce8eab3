"""The wheel in an environment of its own, with what it asks for alone: no torch, and it labels."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from serving import Ensemble

ROOT = Path(__file__).parents[2]
MOST_MB = 450


def run(*command: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by uv from its cache or a registry, at the versions of the lock."""
    folder = tmp_path_factory.mktemp("bare")
    for package in ("features", "serving", "stage1_cnn", "stage2_ensemble"):
        shutil.copytree(ROOT / package, folder / "source" / package)
    for name in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, folder / "source")
    (folder / "source/setup.sh").touch()
    (folder / "source/.venv").symlink_to(sys.prefix)
    built = run("make", "-C", folder / "source", "wheel")
    assert built.returncode == 0, built.stderr
    (wheel,) = (folder / "source/dist").iterdir()
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^[\w.-]+==.*?(?= \\$|$)", lock, re.MULTILINE)
    (pinned := folder / "pins.txt").write_text("\n".join(pins))
    uv = [sys.executable, "-m", "uv"]
    made = run(*uv, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv/bin/python"
    asked = [*uv, "pip", "install", "--quiet", "--python", python, "-c", pinned, wheel]
    installed = run(*asked, "--offline")
    if installed.returncode:
        installed = run(*asked)
    if made.returncode or installed.returncode:
        pytest.skip(f"packages cannot be had: {(made.stderr + installed.stderr)[-200:]}")
    return folder / "venv"


@pytest.mark.slow
def test_a_folder_is_labelled_where_there_is_no_torch(
    environment: Path, bundle: Path, project: Path, tmp_path: Path, ensemble: Ensemble
) -> None:
    folder = project / "data/demo/testset"
    program = environment / "bin/forgerystack"
    done = run(program, "label", folder, "--bundle", bundle, "-o", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        rows = {row["img_name"]: float(row["score"]) for row in csv.DictReader(file)}
    wanted = {Path(row.name).name: row.score for row in ensemble.label(sorted(folder.iterdir()))}
    assert rows == {name: pytest.approx(score, abs=1e-9) for name, score in wanted.items()}
    assert run(program, "verify", bundle).returncode == 0
    for word in ("label", "diff", "verify", "bundle", "push"):
        assert run(program, word, "--help").returncode == 0


@pytest.mark.slow
def test_it_is_small_and_brings_nothing_of_training(environment: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = run(sys.executable, "-m", "uv", "pip", "list", "--python", environment / "bin/python")
    names = {line.split()[0].lower() for line in listed.stdout.splitlines()[2:]}
    extra = {
        re.split(r"[>=<]", text)[0].lower() for text in project["optional-dependencies"]["train"]
    }
    assert "onnxruntime" in names
    assert names & extra <= {"typing-extensions"}
    size = sum(path.lstat().st_size for path in environment.rglob("*") if path.is_file())
    assert size < MOST_MB * 1e6
