"""What lies below a folder of pictures: by it a run notices that they are others now.

describe_pictures(Path("data"), "train", (), contents)   # {"files": 240, "names": …, …}
"""

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from features.core.trusted import leads_into
from features.inputs.contents import KnownContents
from features.lists.folders import Skipped, walk_files
from features.lists.shard_files import find_shards

ALL = 100_000
"""Pictures whose contents are all compared."""
SAMPLED = 10_000
"""Of more pictures so many are, always the same ones."""


def describe_pictures(
    root: Path, images: str, trusted: tuple[str, ...], contents: KnownContents
) -> dict[str, Any]:
    """How many files lie below `root`/`images`, or shards that it names, and sha256 of their names
    and of what they hold.

    Wherever they were copied to, and whenever, they are the same. As names of a list may, links to
    folders lead to others below `root` or into `trusted` ones; what lies elsewhere is not opened.
    """
    allowed = (os.path.realpath(root), *trusted)
    shards = find_shards(root, images, trusted)
    found = shards or dict(sorted(walk_files(root / images, "", Skipped(allowed))))
    names = compared = list(found)
    if len(names) > ALL:
        chosen = np.random.default_rng(0).choice(len(names), SAMPLED, replace=False)
        compared = [names[i] for i in np.sort(chosen)]
    opened = [
        name for name in compared
        if not found[name].is_symlink() or leads_into(found[name].path, allowed)
    ]  # fmt: skip
    digests = contents.digest([found[name].path for name in opened])
    facts = zip(opened, digests, strict=True)
    return {
        "kind": "shards" if shards else "pictures",
        "files": len(names),
        "names": _digest(names),
        "contents": _digest([f"{name}\0{digest}" for name, digest in facts]),
    }


def find_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """In words what `describe_pictures` sees now and did not see before; empty if nothing."""
    noun = after["kind"]
    if before["files"] != after["files"]:
        return f"{after['files']:,} {noun} instead of {before['files']:,}"
    if before["names"] != after["names"]:
        return f"{noun} of other names"
    return f"other {noun} of the same names" if before != after else ""


def _digest(lines: list[str]) -> str:
    content = sha256()
    for line in lines:
        content.update(f"{line}\n".encode(errors="surrogateescape"))
    return content.hexdigest()
