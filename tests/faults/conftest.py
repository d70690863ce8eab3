"""A finished run of the tiny task that all tests here share, and copies of it to spoil."""

from pathlib import Path

import pytest
from forked_stages import Spoiled
from project_copy import copy_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The folder of a project after its first `dvc repro`. Nothing may change there."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "a b é", "tiny")
    project.repro()
    return project.folder


@pytest.fixture
def project(finished, tmp_path) -> Spoiled:
    """A copy of the finished project, which is put right again after each fault."""
    return Spoiled(finished, tmp_path / "copy")
