"""The check of a GPU, as far as a CPU takes it: what it says, and how it ends."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.groups import GROUPS, Group, plan_groups, run_groups
from benchmarks.gpu.report import LINE, Report
from benchmarks.gpu_check import summarise

ROOT = Path(__file__).resolve().parents[2]


def run_check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_check", *arguments]
    env = os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)


def run_program(code: str, tmp_path: Path, name: str = "numbers", seconds: float = 30) -> list[str]:
    """The lines of a group that is this program."""
    group = Group(name, [sys.executable, "-c", code], time.time() + seconds)
    (lines,) = run_groups([group], tmp_path, 1)
    return lines


LONG = [pytest.param(group, marks=pytest.mark.scale) for group in ("training", "processes")]


@pytest.mark.parametrize("group", ["numbers", *LONG])
def test_each_check_is_a_line_and_none_fails_on_a_cpu(tmp_path, group):
    done = run_check("--device", "cpu", "--quick", "--group", group, "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    device, *lines, summary = done.stdout.splitlines()
    assert device.startswith("device CPU, ")
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert {line.split()[1].partition(".")[0] for line in lines} == {group}
    assert summary.startswith(f"{len(lines)} checks, 0 failed, ")
    assert (tmp_path / "gpu_check.json").is_file()


def test_without_a_card_it_says_so_in_one_line():
    done = run_check(CUDA_VISIBLE_DEVICES="")
    assert (done.returncode, done.stdout) == (0, "check device.cuda skip there is no CUDA here\n")


@pytest.mark.parametrize(
    ("lines", "told", "status"),
    [
        (["check a.b pass 1", "value a.c 2 s", "check a.d skip no card"], "2 checks, 0 failed", 0),
        (["check a.b pass 1", "check a.d fail 0.90"], "2 checks, 1 failed, 0 skipped", 1),
        (["check a.b fail 1", "check a.b pass 2"], "1 checks, 1 failed", 1),
        (["value a.c 2 s"], "0 checks", 1),
    ],
)
def test_a_failed_check_or_none_at_all_is_told_by_the_exit_status(lines, told, status):
    said, found = summarise(lines, 3)
    assert said.startswith(told)
    assert found == status


def test_what_breaks_is_a_failed_check_and_the_rest_goes_on(capsys):
    report = Report("memory", torch.device("cpu"))
    with report.part("train"):
        raise RuntimeError("no kernel image\nand more")
    with report.part("dump"):
        report.value("seconds", 1234.5, "s")
        report.profile("resnet50", "void kernel<a, b>(int)", 0.25)
    assert capsys.readouterr().out.splitlines() == [
        "check memory.train fail RuntimeError: no kernel image",
        "value memory.seconds 1234 s",
        "profile memory.resnet50 void_kernel<a,_b>(int) 25.0 %",
    ]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no memory')", "ended with 1 no memory"),
        ("import os; os.abort()", "ended with -6"),
        ("print('something else')", "it said nothing"),
    ],
)
def test_a_group_that_breaks_is_a_failed_check(code, reason, tmp_path):
    assert run_program(code, tmp_path)[-1].startswith(f"check numbers.group fail {reason}")


def test_what_a_group_had_found_before_it_broke_is_kept(tmp_path):
    code = "print('check numbers.a pass 1', flush=True); print('check numb', end=''); raise OSError"
    lines = run_program(code, tmp_path)
    assert lines == ["check numbers.a pass 1", "check numbers.group fail ended with 1 OSError"]


def test_a_group_that_takes_too_long_is_ended_with_all_that_it_has_started(tmp_path):
    beside = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys, time; print('check numbers.a pass 1', flush=True);"
        f"child = subprocess.Popen([sys.executable, '-c', {beside!r}]);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    first, last = run_program(code, tmp_path, seconds=3)
    assert first == "check numbers.a pass 1"
    assert last.startswith("check numbers.group fail not done after ")
    state = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_each_group_is_a_module():
    for group in plan_groups(GROUPS, "cpu", True, None, 0.0):
        assert (ROOT / "benchmarks" / "gpu" / f"{group.name}.py").is_file()
