"""Faces in pictures into rows, in place of the pictures or beside them."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from features.core.manifest import READABLE
from features.core.trusted import find_trusted
from features.errors import ImageProblem
from features.faces.centerface import Detector
from features.faces.crops import choose_parts, write_shares
from features.faces.known import FaceIndex, FoundFaces
from features.pixels.decoding import Pixels, decode_whole
from features.pixels.reading import open_inside, read_inside, read_state
from features.runtime.memory import count_workers
from features.runtime.progress import track
from features.settings.data import PrepareParams
from features.settings.images import PreparedImages
from features.shards.names import title_file
from features.videos.addresses import Address, Box, parse_address
from features.videos.frames import read_frames


class _Row(NamedTuple):
    """What becomes of a row."""

    box: Box | None
    face: str


def list_faces(rows: pd.DataFrame, params: PrepareParams) -> pd.DataFrame:
    """`rows` with those of faces, as `images.faces` says, and `face`, where it is in the row.

    Rows of one picture are a unit, where there are several and the list names none. A picture
    without a face keeps its row, and so does one that cannot be read: reading says why. Raises
    `PictureError` without a detector.
    """
    if params.images.faces == "none" or not params.data.has_pictures:
        return rows.assign(face="")
    whole = [parse_address(path) for path in rows["path"]]
    parts = [_choose_rows(found, params.images) for found in _find_faces(whole, params)]
    counts = [len(own) for own in parts]
    places = np.repeat(np.arange(len(rows)), counts)
    listed = rows.iloc[places].reset_index(drop=True)
    boxes = [own.box for group in parts for own in group]
    files = pd.Series([title_file(whole[place].file) for place in places], dtype="str")
    is_alone = np.repeat(counts, counts) == 1
    return listed.assign(
        img_name=_add_boxes(listed["img_name"], boxes),
        path=_add_boxes(listed["path"], boxes),
        unit=listed["unit"].where((listed["unit"] != "") | is_alone, files),
        face=pd.Series([own.face for group in parts for own in group], dtype="str"),
    )


def count_missed(rows: pd.DataFrame) -> int:
    """Pictures in which no face was found; those of a manifest's rows that can be read."""
    return int(((rows["face"] == "") & (rows["status"] == READABLE)).sum())


def _choose_rows(found: FoundFaces | None, images: PreparedImages) -> list[_Row]:
    if found is None:
        return [_Row(None, "")]
    size = (found.width, found.height)
    rows = []
    for box, face in choose_parts(found.faces, *size, images):
        told = "" if face is None else write_shares(face, box or Box(0, 0, *size))
        rows.append(_Row(box, told))
    return rows


def _add_boxes(addresses: pd.Series, boxes: list[Box | None]) -> pd.Series:
    both = zip(addresses, boxes, strict=True)
    return pd.Series([str(parse_address(own)._replace(box=box)) for own, box in both], dtype="str")


def _find_faces(addresses: list[Address], params: PrepareParams) -> list[FoundFaces | None]:
    """What was found at each; `None` for a picture that cannot be read."""
    detector, root = Detector(), Path(params.data.root).resolve()
    by_file = itertools.groupby(addresses, lambda address: address.file)
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
