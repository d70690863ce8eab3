"""A tiny project and its bundle: only to be read; copies are to be changed."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from frozen_project import make_frozen_project
from made_once import make_once
from parts_project import make_parts_project, stand_in
from tiny_project import make_bundle, make_project

from features.settings.sections import load_params
from serving import Ensemble
from serving.bundle.opening import ProjectMember
from serving.bundle.run import STACKERS, read_project_members
from serving.bundle.settings import BundleParams
from stage2_ensemble.fitted.bundle import read_ensemble


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make_once(tmp_path_factory, "serving", make_project)


@pytest.fixture(scope="session")
def bundle(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> Path:
        return make_bundle(project, folder / "ensemble", neighbours=8)

    return make_once(tmp_path_factory, "bundle", make)


@pytest.fixture(scope="session")
def ensemble(bundle: Path) -> Ensemble:
    return Ensemble.load(bundle)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose rows are pictures and faces."""
    torch.set_num_threads(1)
    with stand_in():
        return make_once(tmp_path_factory, "parts", make_parts_project)


@pytest.fixture(scope="session")
def parts_bundle(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> Path:
        return make_bundle(parts, folder / "ensemble", samples=3, neighbours=4)

    with stand_in():
        return make_once(tmp_path_factory, "bundle of parts", make)


@pytest.fixture(scope="session")
def parts_ensemble(parts_bundle: Path) -> Ensemble:
    with stand_in():
        return Ensemble.load(parts_bundle)


@pytest.fixture(scope="session")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of frozen encoders, each of which several backbones read."""
    torch.set_num_threads(1)
    return make_once(tmp_path_factory, "frozen encoders", make_frozen_project)


@pytest.fixture
def members(frozen: Path) -> dict[str, ProjectMember]:
    """Those of `frozen`, by name."""
    with chdir(frozen):
        second_stage = read_ensemble(STACKERS)
        found = read_project_members(load_params(BundleParams), second_stage)
    return {own.member.id.name: replace(own, folder=frozen / own.folder) for own in found}


@pytest.fixture
def red_faces() -> Iterator[None]:
    """What finds the faces of `parts`, also where its bundle is opened again."""
    with stand_in():
        yield


@pytest.fixture
def parts_pictures(parts: Path) -> list[Path]:
    """Those of its test list: four without a face, four with one, four with two, and so on."""
    return sorted((parts / "data/demo/testset").iterdir())


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
