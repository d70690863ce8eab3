"""One run at a time on a folder of results."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from features.core.files import write_text
from features.errors import LockedError
from features.runtime import locks
from features.runtime.locks import claim, hold

HOLD = """
import sys, time
from pathlib import Path
from features.runtime.locks import hold
with hold(Path("out"), Path("resume")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.fault(
    "a second run into the same folder",
    "error that names the process",
    "Disks, signals, kills",
)
@pytest.mark.fault("a lock that a dead process left", "does not count", "Disks, signals, kills")
def test_a_second_run_on_a_folder_is_refused_until_the_first_is_dead(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = str(Path(locks.__file__).parents[2])
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "held\n"
        refused = pytest.raises(LockedError, match=f"out is in use by process {first.pid}")
        with refused, hold(tmp_path / "out", tmp_path / "resume"):
            pass
        with hold(tmp_path / "other", tmp_path / "resume"):
            pass
    finally:
        first.kill()
        first.wait()
    with hold(tmp_path / "out", tmp_path / "resume"):
        pass


CLAIM = """
import sys
from pathlib import Path
from features.core.files import write_text
from features.runtime.locks import claim
with claim(Path("out"), Path("resume")):
    write_text(Path("out/a.txt"), "old")
    print("begun", flush=True)
    sys.stdin.readline()
    write_text(Path("out/b.txt"), "old")
"""


@pytest.mark.fault(
    "an older run of the same stage that is still there",
    "error of the older one; what the newer one wrote stays",
    "Disks, signals, kills",
)
def test_what_an_older_run_left_behind_ends_with_overwrites_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = str(Path(locks.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM], stdout=subprocess.PIPE, stdin=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root},
    ) as older:  # fmt: skip
        assert older.stdout.readline() == "begun\n"
        with claim(tmp_path / "out", tmp_path / "resume"):
            for name in ("a", "b"):
                write_text(tmp_path / "out" / f"{name}.txt", "new")
        _, error = older.communicate("go on\n")
    assert older.returncode != 0
    assert "SupersededError: A newer run of this stage has begun" in error
    files = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert files == {"a.txt": "new", "b.txt": "new"}


def test_runs_for_other_folders_do_not_stand_in_each_others_way(tmp_path):
    with claim(tmp_path / "one", tmp_path / "resume"):
        with claim(tmp_path / "other", tmp_path / "resume"):
            pass
        write_text(tmp_path / "one" / "a.txt", "new")
    with claim(tmp_path / "one", tmp_path / "resume"):
        pass
    write_text(tmp_path / "one" / "a.txt", "of no stage")  # without a claim nothing is asked


@pytest.mark.fault(
    "a file system without locks",
    "goes on; runs of one machine see each other, and it says so",
    "Disks, signals, kills",
)
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_on_the_file_system_runs_of_one_machine_see_each_other(
    number, tmp_path, monkeypatch, caplog
):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path / "out", tmp_path / f"resume-{number}"):
        refused = pytest.raises(LockedError, match=f"in use by process {os.getpid()}")
        with refused, hold(tmp_path / "out", tmp_path / f"resume-{number}"):
            pass
    with hold(tmp_path / "out", tmp_path / f"resume-{number}"):
        pass
    with claim(tmp_path / "out", tmp_path / f"resume-{number}"):
        write_text(tmp_path / "out" / "a.txt", "new")
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
    assert caplog.text.count("has no locks") <= 1


def test_a_disk_that_is_full_is_no_missing_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No space left"), hold(tmp_path / "out", tmp_path / "resume"):
        pass
