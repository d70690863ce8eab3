"""What files of a folder are by their endings: shards of a role, or pictures where none belong.

find_shards(Path("data"), "shards/train-*.tar", ())   # {"shards/train-000.tar": <DirEntry>, …}
"""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from features.errors import ManifestError
from features.lists.folders import Skipped, is_folder, scan_folder
from features.shards.names import COMPRESSED_ENDINGS, MEDIA_ENDINGS, SHARD_ENDINGS, UNPACK


def find_shards(root: Path, images: str, trusted: tuple[str, ...]) -> dict[str, os.DirEntry[str]]:
    """By path below `root`, sorted; none where `images` is a folder of pictures.

    A folder is one of shards where they lie in it, and neither pictures nor folders beside them.
    Raises `ManifestError` for a pattern that fits nothing, and for compressed archives.
    """
    place = PurePosixPath(images)
    is_whole = (root / images).is_dir()
    if not is_whole and not names_shards(images):
        return {}
    folder, pattern = (place, "*") if is_whole else (place.parent, place.name)
    entries = scan_folder(root / folder, "", Skipped(trusted))
    if is_whole and any(is_folder(e) or _ends(e.name, MEDIA_ENDINGS) for e in entries):
        return {}
    chosen = [e for e in entries if fnmatchcase(e.name, pattern) and not is_folder(e)]
    if packed := sorted(e.name for e in chosen if _ends(e.name, COMPRESSED_ENDINGS)):
        raise ManifestError(str(root / images), [f"{name}: {UNPACK}" for name in packed])
    shards = {str(folder / e.name): e for e in chosen if _ends(e.name, SHARD_ENDINGS)}
    if not is_whole and not shards:
        advice = "It names .tar or .parquet files below data.root; * and ? fit any characters."
        raise ManifestError(str(root / images), ["no file is called so"], advice)
    return dict(sorted(shards.items()))


def names_shards(images: str) -> bool:
    """Whether `images` is no folder but a file, or a pattern of some."""
    return _ends(images, (*SHARD_ENDINGS, *COMPRESSED_ENDINGS))


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().endswith(endings)


def find_beside(entries: Sequence[os.DirEntry[str]], prefix: str, skipped: Skipped) -> list[str]:
    """Paths of what is no folder, and may be a picture: links, and whatever has such an ending."""
    files = [entry for entry in entries if not is_folder(entry)]
    taken = [e for e in files if e.is_symlink() or _ends(e.name, MEDIA_ENDINGS)]
    skipped.beside += [prefix + entry.name for entry in files if entry not in taken]
    return [prefix + entry.name for entry in taken]
