"""Two clones and a remote: what one has run, the other pulls and need not run."""

from dataclasses import replace
from pathlib import Path

import pytest
from project_copy import Project

pytestmark = pytest.mark.scale


def commit(project: Project) -> None:
    project.run("git", "add", "--all")
    who = ("-c", "user.name=A B", "-c", "user.email=a@b.example")
    project.run("git", *who, "commit", "-q", "-m", "Run everything")


def test_what_was_pushed_runs_nowhere_else(project, tmp_path: Path) -> None:
    project.run("dvc", "remote", "add", "--default", "team", str(tmp_path / "team"))
    commit(project)
    project.run("dvc", "push")
    project.run("git", "clone", "-q", str(project.folder), str(tmp_path / "colleague"))
    colleague = replace(project, folder=tmp_path / "colleague")
    colleague.run("dvc", "pull")
    assert colleague.digest() == project.digest()
    assert colleague.repro() == ["inputs"]  # which always looks at the data
    assert colleague.digest() == project.digest()

    params = colleague.read_params()
    params["decision"]["threshold"] = "f1"
    colleague.write_params(params)
    assert not {"prepare", "train@resnet-0", "dump@resnet-0"} & set(colleague.repro())
    commit(colleague)
    colleague.run("dvc", "push")
    project.run("git", "pull", "-q", str(colleague.folder), "HEAD")
    project.run("dvc", "pull")
    assert project.repro() == ["inputs"]
    assert project.digest() == colleague.digest()
