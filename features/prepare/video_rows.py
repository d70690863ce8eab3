"""Videos of a list or a class folder into rows, one for each frame that is looked at."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed

from features.core.trusted import find_trusted
from features.errors import ImageProblem, ManifestError
from features.pixels.reading import open_inside
from features.runtime.memory import count_workers
from features.runtime.progress import track
from features.settings.data import Data
from features.shards.names import title_file
from features.videos.addresses import Address, name_file
from features.videos.frames import VIDEO_ENDINGS, import_av, list_times

Mask = npt.NDArray[np.bool_]


def list_frames(rows: pd.DataFrame, data: Data) -> pd.DataFrame:
    """`rows` with those of a video's frames in place of each video; all its facts are theirs.

    `img_name` and `path` are addresses then, and `unit`, where the list names none, is the video's
    path. A video that cannot be used keeps its row: reading it as a picture says why. Raises
    `PictureError` where there are videos and no PyAV, `ManifestError` for files that are called as
    frames are.
    """
    marked = rows["path"][rows["path"].str.contains("#", regex=False)]
    if odd := [path for path in marked if name_file(path) != path]:
        problems = [f"{path}: frames of videos are called so, rename it" for path in odd]
        raise ManifestError("files", problems)
    videos = np.flatnonzero(rows["path"].str.lower().str.endswith(VIDEO_ENDINGS))
    if not len(videos) or not data.has_pictures:
        return rows
    import_av()
    where = (Path(data.root), data, find_trusted(data.trusted))
    work = Parallel(n_jobs=count_workers(), prefer="threads", return_as="generator")(
        delayed(_find_times)(*where, path) for path in rows["path"].iloc[videos]
    )
    found = list(track(work, "look into videos", len(videos), unit="videos"))
    times: list[list[float | None]] = [[None]] * len(rows)
    for row, moments in zip(videos, found, strict=True):
        times[row] = moments
    is_listed = np.zeros(len(rows), bool)
    is_listed[videos] = True
    places = np.repeat(np.arange(len(rows)), [len(moments) for moments in times])
    listed = rows.iloc[places].reset_index(drop=True)
    flat = [time for moments in times for time in moments]
    titles = listed["path"].map(title_file)
    unit = listed["unit"].where((listed["unit"] != "") | ~is_listed[places], titles)
    named = {
        column: pd.Series(
            [str(Address(name, time)) for name, time in zip(listed[column], flat, strict=True)],
            dtype="str",
        )
        for column in ("img_name", "path")
    }
    return listed.assign(unit=unit, **named)


def are_of_one_file(first: pd.DataFrame, second: pd.DataFrame) -> Mask:
    """`(m,)`: which pairs of rows, each with `role` and `path`, are different parts of one file:
    frames of a video, faces of a picture."""
    same: Mask = first["role"].to_numpy(object) == second["role"].to_numpy(object)
    places = np.flatnonzero(same)
    paths = (side["path"].iloc[places] for side in (first, second))
    same[places] = [
        one != other and name_file(one) == name_file(other)
        for one, other in zip(*paths, strict=True)
    ]
    return same


def spread_over_files(rows: pd.DataFrame, chosen: Mask) -> Mask:
    """`(n,)`: `chosen`, and all other frames of their videos in the same role."""
    places = zip(rows["role"][chosen], rows["path"][chosen], strict=True)
    names = {(role, name_file(path)) for role, path in places}
    if not any("#" in path for path in rows["path"][chosen]):
        return chosen
    keys = zip(rows["role"], rows["path"].map(name_file), strict=True)
    spread: Mask = np.fromiter((key in names for key in keys), bool, len(rows))
    return spread


def _find_times(root: Path, data: Data, trusted: tuple[str, ...], path: str) -> list[float | None]:
    try:
        with open_inside(root, path, trusted) as file:
            return [*list_times(file, data)]
    except ImageProblem:
        return [None]
