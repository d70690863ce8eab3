"""Text files that people give: lists, tables of names and labels."""

from pathlib import Path

from features.errors import PictureError


def read_given_text(path: Path) -> str:
    """UTF-8, with or without a mark at its start. Raises `PictureError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise PictureError(str(path), ["it is no text in UTF-8"]) from None
    except OSError as error:
        raise PictureError(str(path), [f"it cannot be read: {error.strerror}"]) from None
