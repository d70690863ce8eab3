"""A tiny project and its bundle: only to be read; copies are to be changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_project import make_bundle, make_project

from serving import Ensemble


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_project(tmp_path_factory.mktemp("serving") / "project")


@pytest.fixture(scope="session")
def bundle(project: Path) -> Path:
    return make_bundle(project, project.parent / "ensemble", neighbours=8)


@pytest.fixture(scope="session")
def ensemble(bundle: Path) -> Ensemble:
    return Ensemble.load(bundle)


@pytest.fixture
def pictures(project: Path) -> list[Path]:
    """Those of the test list."""
    lines = (project / "data/demo/testset_nolabel.txt").read_text(encoding="utf-8").split()
    return [project / "data/demo/testset" / name for name in lines[1:]]


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the bundle."""

    def copy() -> Path:
        return Path(shutil.copytree(bundle, tmp_path / "copy"))

    return copy
