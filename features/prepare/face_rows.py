"""Faces in pictures into rows, in place of the pictures or beside them."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from features.core.trusted import find_trusted
from features.errors import ImageProblem
from features.faces.centerface import Detector
from features.faces.crops import choose_crops
from features.faces.known import FaceIndex, FoundFaces
from features.pixels.decoding import Pixels, decode_whole
from features.pixels.reading import open_inside, read_inside
from features.pixels.scanning import read_state
from features.runtime.memory import count_workers
from features.runtime.progress import track
from features.settings.data import PrepareParams
from features.videos.addresses import Address, parse_address
from features.videos.frames import read_frames

MISSED = "no face"
"""Note of rows that are whole pictures because no face was found."""


def list_faces(rows: pd.DataFrame, params: PrepareParams) -> pd.DataFrame:
    """`rows` with those of faces, as `images.faces` says, and `is_missed`.

    Rows of one picture are a unit, where there are several and the list names none. Pictures that
    cannot be read keep their row: reading says why. Raises `PictureError` without a detector.
    """
    images = params.images
    if images.faces == "none" or not params.data.has_pictures:
        return rows.assign(is_missed=False)
    parts: list[list[Address]] = []
    missed = np.zeros(len(rows), bool)
    paths = rows["path"].tolist()
    for i, (text, found) in enumerate(zip(paths, _find_faces(paths, params), strict=True)):
        address = parse_address(text)
        boxes = choose_crops(found.faces, found.width, found.height, images) if found else []
        missed[i] = found is not None and not boxes
        own = [address._replace(box=box) for box in boxes]
        parts.append([address, *own] if images.faces == "both" or not own else own)
    counts = [len(own) for own in parts]
    places = np.repeat(np.arange(len(rows)), counts)
    listed = rows.iloc[places].reset_index(drop=True)
    is_alone = np.repeat(counts, counts) == 1
    files = pd.Series([own.file for group in parts for own in group], dtype="str")
    unit = listed["unit"].where((listed["unit"] != "") | is_alone, files)
    path = pd.Series([str(own) for group in parts for own in group], dtype="str")
    # Frames of a video have their time in the name by now.
    whole = rows["img_name"].map(parse_address)
    names = [
        str(name._replace(box=own.box)) for name, group in zip(whole, parts, strict=True)
        for own in group
    ]  # fmt: skip
    named = pd.Series(names, dtype="str")
    return listed.assign(img_name=named, path=path, unit=unit, is_missed=missed[places])


def note_missed(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` that were scanned, with a note where no face was found."""
    notes = rows["notes"].where(rows["notes"] == "", rows["notes"] + ";") + MISSED
    is_noted = rows["is_missed"] & (rows["sha256"] != "")
    return rows.assign(notes=rows["notes"].mask(is_noted, notes)).drop(columns="is_missed")


def _find_faces(paths: list[str], params: PrepareParams) -> list[FoundFaces | None]:
    """What was found at each address; `None` for a picture that cannot be read."""
    detector, root = Detector(), Path(params.data.root).resolve()
    by_file = itertools.groupby(map(parse_address, paths), lambda address: address.file)
    groups = [list(group) for _, group in by_file]
    states = [read_state(str(root / group[0].file)) for group in groups]
    found: list[list[FoundFaces | None]] = []
    with FaceIndex(params.images.store_dir) as index:
        for group, state in zip(groups, states, strict=True):
            found.append([index.find(str(root / str(own)), state) for own in group])
        unknown = [place for place, seen in enumerate(found) if None in seen]
        work = Parallel(n_jobs=count_workers(), prefer="threads", return_as="generator")(
            delayed(_look)(root, groups[place], params, detector) for place in unknown
        )
        total = sum(len(groups[place]) for place in unknown)
        for place, seen in track(
            zip(unknown, work, strict=True), "look for faces", total, unit="images",
            size=lambda pair: len(pair[1]),
        ):  # fmt: skip
            index.add([str(root / str(own)) for own in groups[place]], states[place], seen)
            found[place] = [*seen] or [None] * len(groups[place])
    return [own for group in found for own in group]


def _look(
    root: Path, group: list[Address], params: PrepareParams, detector: Detector
) -> list[FoundFaces]:
    """At all pictures of one file; at none of one that cannot be read."""
    try:
        return [
            FoundFaces(pixels.shape[1], pixels.shape[0], detector.detect(pixels))
            for pixels in _decode(root, group, params)
        ]
    except ImageProblem:
        return []


def _decode(root: Path, group: list[Address], params: PrepareParams) -> Iterator[Pixels]:
    file, trusted = group[0].file, find_trusted(params.data.trusted)
    times = [own.time for own in group if own.time is not None]
    if times:
        with open_inside(root, file, trusted) as opened:
            for frame in read_frames(opened, times, params.data):
                yield frame.pixels
    else:
        content = read_inside(root, file, trusted)
        yield decode_whole(content, params.data, params.images)
