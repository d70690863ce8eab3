"""What holds for every test process, and for the programs that tests start.

It is set here, before numpy, torch and LightGBM load, so that workers and programs inherit it.
"""

import json
import os
import shutil

import pytest
from filelock import FileLock
from project_copy import Project, copy_project

# Two processes that want both cores each slow one another down many times over.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# Where there is a GPU too: tests say what a CPU gives, and two processes want two cards.
os.environ["FORGERYSTACK_DEVICE"] = "cpu"
# Without bytecode files every program that a test starts compiles torch anew: 8 s instead of 2.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers begin with the files that take long, so that none is left alone with one.

    Those at the top, which run whole pipelines, take longest.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (item.path not in slow, len(item.path.parts)))


@pytest.fixture(scope="session")
def finished_tiny(tmp_path_factory) -> Project:
    """The tiny pipeline after its first `dvc repro`, in a folder with a space and an accent.

    It is made once for all workers, so nothing may change there. `ran.json` beside it names the
    stages in the order in which they ran.
    """
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "finished"
    project, ran = Project(place / "a b é"), place / "ran.json"
    with FileLock(place.with_suffix(".lock"), timeout=600):
        if not ran.exists():
            shutil.rmtree(place, ignore_errors=True)
            copy_project(project.folder, "tiny")
            ran.write_text(json.dumps(project.repro()))
    return project


@pytest.fixture
def project(finished_tiny, tmp_path) -> Project:
    """A copy of the finished project, to change. Hard links into DVC's cache are copied too."""
    return finished_tiny.copy(tmp_path / "copy")
