"""The tests that docs/faults.md names are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "faults.md"


def list_tests() -> set[str]:
    return {
        f"{path.name}::{node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }


def test_every_named_test_exists():
    named = set(re.findall(r"`([^`\s]+\.py::[^`\s]+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 50
    assert not named - list_tests()


def test_faults_without_tests_stand_apart():
    covered, apart = PAGE.read_text(encoding="utf-8").split("## Not covered")
    faults = [line for line in covered.splitlines() if re.match(r"\| (?!fault )", line)]
    assert [line for line in faults if not re.fullmatch(r"\|.+\|.+\| `.+::.+` \|", line)] == []
    assert "in part" not in covered
    faults = [line for line in apart.splitlines() if re.match(r"\| (?!fault )", line)]
    assert [line for line in faults if not re.search(r"\| (none|in part.*) \|$", line)] == []
