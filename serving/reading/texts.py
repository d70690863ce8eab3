"""Texts that people give: lists, tables of names and labels, names of files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from features.errors import PictureError


def read_given_text(path: Path) -> str:
    """UTF-8, with or without a mark at its start. Raises `PictureError`."""
    try:
        with _report(path):
            return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise PictureError(str(path), ["it is no text in UTF-8"]) from None


def read_given_paths(path: Path) -> list[str]:
    """Of a list, one a line, as the system has them. Raises `PictureError`."""
    with _report(path):
        return split_paths(path.read_bytes())


def split_paths(content: bytes) -> list[str]:
    """Those of a list, one a line, whatever bytes and other breaks are in them; or each with a NUL
    after it, as `find -print0` says them."""
    text = content.decode("utf-8-sig", errors="surrogateescape")
    if "\0" in text:
        return [path for path in text.split("\0") if path]
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [line for line in lines if line.strip()]


@contextmanager
def _report(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PictureError(str(path), [f"it cannot be read: {error.strerror}"]) from None


def spell_name(name: str) -> str:
    """A file's name as text that any file can hold: bytes that are no UTF-8 as `\\xff`.

    Systems let names be any bytes, and Python has a stand-in for each that no encoding takes.
    """
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def show_name(text: str) -> str:
    """In one line of a terminal, whose cursor nothing moves: control characters as `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
