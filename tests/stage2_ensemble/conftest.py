"""Worlds that were stacked, evaluated and labelled once, and copies of them to work in."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from made_once import make_once
from synthetic_world import Plan, World, build_world, run_stages

PLANS = {"one fold": Plan(active=(0,)), "three folds": Plan(active=(0, 1, 2), calibration=60)}
OTHERS = {
    "new generators": Plan(domains={"gan": "unseen", "diffusion": "held_out"}),
    "units": Plan(active=(0, 1), reals=80, units=True),
}


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Callable[[str], World]:
    """A finished world by the name of its plan; only to be read."""

    @cache
    def finish(name: str) -> World:
        def make(folder: Path) -> World:
            world = build_world(folder, (PLANS | OTHERS)[name])
            run_stages(world)
            return world

        return make_once(tmp_path_factory, f"world of {name}", make)

    return finish


@pytest.fixture(params=PLANS)
def done(request, finished, monkeypatch) -> World:
    """Each finished world in turn, entered; only to be read."""
    world = finished(request.param)
    monkeypatch.chdir(world.root)
    return world


@pytest.fixture
def enter(finished, tmp_path, monkeypatch) -> Callable[[str], World]:
    """A copy of a finished world by name, entered, to be changed at will."""

    def copy(name: str) -> World:
        world = finished(name)
        root: Path = tmp_path / "copy"
        shutil.copytree(world.root, root)
        monkeypatch.chdir(root)
        return replace(world, root=root)

    return copy
