"""Mounts of a child of its own: read-only folders, small disks. Whoever may not mount skips."""

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
READ_ONLY, REMOUNT, BIND, ALL_BELOW, PRIVATE = 1, 32, 4096, 16384, 1 << 18


def mount(source: object, target: object, kind: object, flags: int, options: object) -> None:
    """As `mount(2)`. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    texts = [None if a is None else os.fsencode(str(a)) for a in (source, target, kind, options)]
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]):
        raise OSError(ctypes.get_errno(), "mount", str(target))


def leave_mounts() -> None:
    """Mounts of this process are its own from here on."""
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount(None, "/", None, ALL_BELOW | PRIVATE, None)


def forbid_writing(place: str) -> None:
    """Nobody writes below `place`."""
    leave_mounts()
    home, folder = Path.cwd(), Path(place).absolute()
    mount(folder, folder, None, BIND | ALL_BELOW, None)
    mount(None, folder, None, BIND | REMOUNT | READ_ONLY, None)
    os.chdir(home)  # through the new mount


def make_disk(place: str, kilobytes: int) -> None:
    """`place` is an empty disk of so many kB."""
    leave_mounts()
    mount("tmpfs", place, "tmpfs", 0, f"size={kilobytes}k")


needs_mounts = pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
    reason="needs the right to mount",
)
