"""A copy of the project in a folder of its own, run as a user runs it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


@dataclass
class Project:
    """A copy of the code with its own data, cache and git repository."""

    folder: Path
    programs: Path = Path(sys.executable).parent
    """Those that come first in PATH."""

    def run(self, *command: str, check: bool = True) -> str:
        bin_folder = str(Path(sys.executable).parent)
        path = os.pathsep.join([str(self.programs), bin_folder, os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            command, cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stdout
        return done.stdout

    def repro(self, *targets: str) -> list[str]:
        """Names of the stages that ran; of all, or of `targets` and what they need."""
        said = self.run("dvc", "repro", *targets)
        return re.findall(r"^Running stage '(\S+)'", said, re.MULTILINE)

    def copy(self, target: Path) -> "Project":
        """All of it in another folder, to be changed there."""
        return replace(self, folder=shutil.copytree(self.folder, target))

    def read_params(self) -> dict:
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def write_params(self, values: dict) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def read_metrics(self) -> dict:
        return json.loads((self.folder / "artifacts" / "metrics.json").read_text())

    def digest(self) -> dict[str, str]:
        files = sorted(p for p in (self.folder / "artifacts").rglob("*") if p.is_file())
        return {
            p.relative_to(self.folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        }


def copy_project(target: Path, preset: str) -> Project:
    target.mkdir(parents=True)
    for name in ("features", "serving", "stage1_cnn", "stage2_ensemble"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    (target / ".dvc").mkdir()
    for name in (".dvc/config", ".dvcignore", ".gitignore", "dvc.yaml"):
        shutil.copy(ROOT / name, target / name)
    shutil.copy(ROOT / "presets" / f"{preset}.yaml", target / "params.yaml")
    project = Project(target)
    project.run("git", "init", "-q")
    return project
