"""Values of params.yaml change where they stand."""

import difflib
from pathlib import Path

import pytest
import yaml

from features.errors import ConfigError
from stage2_ensemble.tune.params_file import set_values, write_values

ROOT = Path(__file__).parents[3]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]
CHANGES = {"stack.pca_components": 9, "gate.margin": 1e-05, "gate.rows": "untuned"}


def list_changed(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line[2:] for line in lines if line.startswith("+ ")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_only_the_values_that_change_are_touched(path):
    before = path.read_text(encoding="utf-8")
    after = set_values(before, CHANGES)
    values = yaml.safe_load(before)
    values["stack"]["pca_components"] = 9
    values["gate"] |= {"margin": 1e-05, "rows": "untuned"}
    assert yaml.safe_load(after) == values
    assert len(list_changed(before, after)) <= len(CHANGES)
    assert before.count("#") == after.count("#")


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("s:\n  a: 1   # why\n", {"s.a": 200}, "s:\n  a: 200 # why\n"),
        ("s:\n  a: 1.5   # why\n", {"s.a": 2}, "s:\n  a: 2     # why\n"),
        ("s: {a: x, b: 'y'}  # why", {"s.b": "none"}, "s: {a: x, b: none}  # why"),
        ("s: {a: 1}\n", {"s.new": 2}, "s: {new: 2, a: 1}\n"),
        ("s:\n    # über\n    a: 1", {"s.new": None}, "s:\n    # über\n    new: null\n    a: 1"),
        ("s:\r\n  a: 1\r\n", {"s.new": 0.5}, "s:\r\n  new: 0.5\r\n  a: 1\r\n"),
        ("t: {a: 1}\ns: {a: 1}\n", {"s.a": 2}, "t: {a: 1}\ns: {a: 2}\n"),
        ("s: {a: 1}\n", {}, "s: {a: 1}\n"),
    ],
)
def test_layout_stays(before, changes, after):
    assert set_values(before, changes) == after


@pytest.mark.parametrize(
    "text",
    [
        "t: {a: 1}\n",
        "s:\n",
        "s: {}\n",
        "s:\n  a:\n    - 1\nt: 2\n",
        "s:\n  a: &shared 1\n  b: *shared\n",
    ],
)
def test_what_cannot_be_changed_in_place_is_named(text):
    with pytest.raises(ConfigError, match=r"cannot be changed in place(?s:.)*Set by hand: s\.a: 5"):
        set_values(text, {"s.a": 5})


def test_the_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"s:\r\n  a: 1  # why\r\n")
    write_values({"s.a": 2}, path)
    assert path.read_bytes() == b"s:\r\n  a: 2  # why\r\n"
    with pytest.raises(ConfigError):
        write_values({"s.a": 3, "t.b": 4}, path)
    assert path.read_bytes() == b"s:\r\n  a: 2  # why\r\n"
    assert list(tmp_path.iterdir()) == [path]
