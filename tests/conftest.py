"""What holds for every test process, and for the programs that tests start.

It is set here, before numpy, torch and LightGBM load, so that workers and programs inherit it.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import start_browser
from fork_server import serve_forks
from made_once import make_once
from project_copy import Project, copy_project

# Two processes that want both cores each slow one another down many times over.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# Threads of LightGBM that wait actively cost it a hundredfold on small tables beside other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Where there is a GPU too: tests say what a CPU gives, and two processes want two cards.
os.environ["FORGERYSTACK_DEVICE"] = "cpu"
# Without bytecode files every program that a test starts compiles torch anew: 8 s instead of 2.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(trylast=True)  # of the tests that will run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers begin with the files that take long, so that none is left alone with one.

    The first makes `finished_tiny`; the others that need it come late enough to find it there.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        waiting = {item.path for item in items if "finished_tiny" in item.fixturenames}
        first = min(waiting & slow, default=None, key=lambda path: (len(path.parts), path))

        def place(item: pytest.Item) -> tuple[bool, bool, bool]:
            return item.path != first, item.path not in slow, item.path in waiting

        items.sort(key=place)


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """The tiny pipeline after its first `dvc repro`, and stages in the order in which they ran."""

    def make(folder: Path) -> tuple[Project, list[str]]:
        project = copy_project(folder / "a b é", "tiny")
        return project, project.repro()

    return make_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def finished_tiny(first_run: tuple[Project, list[str]]) -> Project:
    """The tiny pipeline after its first `dvc repro`, in a folder with a space and an accent.

    It is made once for all workers, so nothing may change there.
    """
    return first_run[0]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Those that start fast, as a folder for PATH."""
    with serve_forks(tmp_path_factory.mktemp("programs")) as folder:
        yield folder


@pytest.fixture
def project(finished_tiny: Project, programs: Path, tmp_path: Path) -> Project:
    """A copy of the finished project, to change. Hard links into DVC's cache are copied too."""
    return replace(finished_tiny.copy(tmp_path / "copy"), programs=programs)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; skips the test where there is none."""
    with start_browser() as started:
        yield started
