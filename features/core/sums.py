"""Sums: what seals tables and lists that hold no digest of their own.

write_sums(folder / "x.sums.json", [folder / "roc.csv", folder / "pr.csv"])
tables = check_sums(folder / "x.sums.json", "evaluate", "*.csv")
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from features.core.files import check_digest, digest_file, read_sealed, write_sealed
from features.errors import IntegrityError


def write_sums(path: Path, files: Iterable[Path]) -> None:
    """Seals files that hold no digest of their own: their sha256s, by their names from the folder
    of `path` on. Written last, and read by `check_sums`."""
    folder = path.parent
    sums = {file.relative_to(folder).as_posix(): digest_file(file) for file in sorted(files)}
    write_sealed(path, {"sha256": sums})


def check_sums(path: Path, stage: str, pattern: str) -> list[Path]:
    """The files that `stage` listed in `path` and whose names match `pattern`, each checked.

    Raises `MissingArtifactError`, or `IntegrityError` where one was changed or none is listed.
    """
    sums = read_sealed(path, stage, {"sha256": dict})["sha256"]
    names = [name for name in sums if PurePosixPath(name).match(pattern)]
    if not names:
        advice = f"Make it again: dvc repro -f {stage}"
        raise IntegrityError(path, f"it does not list {pattern}", advice)
    for name in names:
        check_digest(path.parent / name, sums[name], stage, path.name)
    return [path.parent / name for name in names]
