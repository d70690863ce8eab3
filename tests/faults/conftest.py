"""A copy of the finished tiny pipeline for each test here to spoil."""

import pytest
from forked_stages import Spoiled


@pytest.fixture
def project(finished_tiny, tmp_path) -> Spoiled:
    """It is put right again after each fault."""
    return Spoiled(finished_tiny.folder, tmp_path / "copy")
