"""What several workers need, made by the first of them that asks."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock

Made = TypeVar("Made")


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """What `make` returns of a folder that is not there yet, kept by pickle.

    It may write into the folder. All workers share it, so afterwards it is only to be read.
    """
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder, kept = place / "it", place / "kept.pickle"
    place.mkdir(exist_ok=True)
    with FileLock(place / "lock", timeout=600):
        if not kept.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of one who broke off
            kept.write_bytes(pickle.dumps(make(folder)))
        made: Made = pickle.loads(kept.read_bytes())
    return made
