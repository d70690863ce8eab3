"""Whether all files are still what `prepare` saw, byte by byte: `prepare --verify`."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from features.core.manifest import ROLES, read_manifest
from features.core.trusted import ANYWHERE
from features.crops.picture_cache import PictureCache
from features.errors import ImageProblem, ManifestError
from features.pixels.cache import ImageCache
from features.pixels.reading import digest_picture
from features.runtime.progress import track
from features.settings.data import PrepareParams

BLOCK = 256
_log = logging.getLogger("forgerystack")


def compare_files(root: Path, paths: Sequence[str], sha256s: Sequence[str]) -> list[str]:
    """One problem for each file whose content is not the known one."""
    problems = []
    for path, wanted in zip(paths, sha256s, strict=True):
        try:
            found = digest_picture(root, path, ANYWHERE)
        except ImageProblem as problem:
            problems.append(f"{path}: {problem}")
        else:
            if found != wanted:
                problems.append(f"{path}: its content has changed")
    return problems


def verify_data(params: PrepareParams, folder: Path) -> None:
    """Reads every file of the manifests and every block of the stores again.

    Damaged blocks are forgotten, to be decoded again. Raises `ManifestError` with
    every file that has changed.
    """
    if not params.data.has_pictures:
        _log.info("prepare: there are no pictures (data.train.images), so nothing is read again")
        return
    root, problems, count = Path(params.data.root), [], 0
    for role in ROLES:
        manifest = read_manifest(folder, role)
        rows = np.flatnonzero(manifest.readable)
        paths, sha256s = manifest.read("path"), manifest.read("sha256")
        parts = [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]
        work = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
            delayed(compare_files)(root, list(paths.iloc[part]), list(sha256s.iloc[part]))
            for part in parts
        )
        both = zip(parts, work, strict=True)
        for _, found in track(
            both, f"verify {role}", len(rows), unit="images", size=lambda pair: len(pair[0])
        ):
            problems += found
        count += len(rows)
    _log.info("prepare: %d files read again, %d changed", count, len(problems))
    native, fitted = (PictureCache(params.images, side) for side in (None, params.images.size))
    for cache in (ImageCache(params.images), native, fitted):
        if cache.index_path.is_file():
            with cache:
                _log.info("prepare: %d damaged blocks in %s", cache.drop_damaged(), cache.folder)
    if problems:
        raise ManifestError("files", problems, "Restore them, or run: dvc repro -f prepare")
