"""The program `forgerystack`: its commands, and how it says what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.__main__ import COMMANDS, main


def call(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_lists_every_command_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["forgerystack"])
    main()
    lines = capsys.readouterr().out.splitlines()
    told = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert tuple(told) == COMMANDS
    assert all(line.endswith(".") or len(line) > 30 for line in told.values())


def test_a_misspelt_command_is_answered_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["forgerystack", "lable"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "did you mean label?" in capsys.readouterr().err


def test_a_command_speaks_of_itself_as_it_was_called(tmp_path: Path) -> None:
    done = call("verify", tmp_path)
    assert done.returncode == 2
    assert "no bundle" in done.stderr
    assert "Traceback" not in done.stderr
    assert "forgerystack verify" in call("verify", "--help").stdout


def test_rows_go_to_the_terminal_where_no_file_is_named(bundle: Path, pictures: list[Path]) -> None:
    done = call("label", pictures[0], "--bundle", bundle)
    assert done.stdout.split()[0] in ("real", "fake")
    assert pictures[0].name in done.stdout


def test_as_json_rows_are_all_that_is_said(bundle: Path, pictures: list[Path]) -> None:
    done = call("label", *pictures[:2], "--bundle", bundle, "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["img_name"]).name for row in rows] == [path.name for path in pictures[:2]]
    assert {"score", "label", "log_odds", "status"} < rows[0].keys()
