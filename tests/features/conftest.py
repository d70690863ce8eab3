"""Fixtures of the tests of `features`."""

from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
from made_data import write_data


@pytest.fixture
def one_process() -> Iterator[None]:
    """Files are scanned and decoded here, not in worker processes, which take a second to start."""
    with joblib.parallel_config(backend="sequential"):
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """20 train, 8 val and 4 test pictures with their label files."""
    return write_data(tmp_path / "data")
