"""What holds for every test process, and for the programs that tests start.

It is set here, before numpy, torch and LightGBM load, so that workers and programs inherit it.
"""

import os

import pytest

# Two processes that want both cores each slow one another down many times over.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# Where there is a GPU too: tests say what a CPU gives, and two processes want two cards.
os.environ["FORGERYSTACK_DEVICE"] = "cpu"
# Without bytecode files every program that a test starts compiles torch anew: 8 s instead of 2.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers begin with the files that take long, so that none is left alone with one."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
