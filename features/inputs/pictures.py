"""What lies below a folder of pictures: by it a run notices that they are others now.

describe_pictures(Path("data/train"), (), contents)   # {"files": 240, "names": …, "contents": …}
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from features.inputs.contents import KnownContents
from features.lists.folders import Skipped, walk_files

ALL = 100_000
"""Pictures whose contents are all compared."""
SAMPLED = 10_000
"""Of more pictures so many are, always the same ones."""


def describe_pictures(
    folder: Path, trusted: tuple[str, ...], contents: KnownContents
) -> dict[str, Any]:
    """How many files lie below `folder`, and sha256 of their names and of what they hold.

    Wherever they were copied to, and whenever, they are the same. Links to folders that lead into
    no `trusted` one are left out, as `prepare` leaves them out.
    """
    names = sorted(name for name, _ in walk_files(folder, "", Skipped(trusted)))
    compared = names
    if len(names) > ALL:
        chosen = np.random.default_rng(0).choice(len(names), SAMPLED, replace=False)
        compared = [names[i] for i in np.sort(chosen)]
    digests = contents.digest([folder / name for name in compared])
    return {"files": len(names), "names": _digest(names), "contents": _digest(digests)}


def find_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """In words what `describe_pictures` sees now and did not see before; empty if nothing."""
    if before["files"] != after["files"]:
        return f"{after['files']:,} pictures instead of {before['files']:,}"
    if before["names"] != after["names"]:
        return "pictures of other names"
    return "other pictures of the same names" if before != after else ""


def _digest(lines: list[str]) -> str:
    content = sha256()
    for line in lines:
        content.update(f"{line}\n".encode(errors="surrogateescape"))
    return content.hexdigest()
