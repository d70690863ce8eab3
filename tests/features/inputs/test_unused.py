"""What a backbone that was taken out of params.yaml leaves behind."""

from pathlib import Path

from features.inputs.unused import set_unused_aside


def make(root: Path, name: str, text: str) -> None:
    (root / name).mkdir(parents=True)
    (root / name / "a.txt").write_text(text)


def read(root: Path) -> dict[str, str]:
    files = sorted(root.rglob("a.txt"))
    return {f.parent.relative_to(root).as_posix(): f.read_text() for f in files}


def test_members_that_params_do_not_name_are_laid_aside_and_taken_back(tmp_path, caplog):
    caplog.set_level("INFO")
    for name in ("members/a/0", "members/a/1", "members/b/0", "dumps/a/0", "dumps/b/0"):
        make(tmp_path / "artifacts", name, name)
    before = read(tmp_path / "artifacts")
    set_unused_aside(["a"], [0], tmp_path)
    assert set(read(tmp_path / "artifacts" / "members")) == {"a/0"}
    assert set(read(tmp_path / "artifacts" / "dumps")) == {"a/0"}
    assert not (tmp_path / "artifacts" / "members" / "b").exists()  # no empty folder either
    assert "not in params.yaml, moved to artifacts/unused/members: a-1, b-0" in caplog.text
    set_unused_aside(["a", "b"], [0, 1], tmp_path)
    assert read(tmp_path / "artifacts") == before


def test_what_was_made_since_stays(tmp_path):
    make(tmp_path / "artifacts", "members/b/0", "old")
    set_unused_aside(["a"], [0], tmp_path)
    make(tmp_path / "artifacts", "members/b/0", "new")
    set_unused_aside(["a", "b"], [0], tmp_path)
    assert read(tmp_path / "artifacts" / "members") == {"b/0": "new"}
    set_unused_aside(["a"], [0], tmp_path)
    assert read(tmp_path / "artifacts" / "unused" / "members") == {"b/0": "new"}


def test_without_results_nothing_is_made(tmp_path):
    set_unused_aside(["a"], [0], tmp_path)
    assert not list(tmp_path.iterdir())
