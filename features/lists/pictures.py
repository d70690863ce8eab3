"""Names of a list that are no file: found where one picture alone can be meant.

Lists come from other machines: with the paths of a notebook, without endings, in another case, with
`%20` for a space. A picture that another line names exactly is never meant by a second name.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.core.trusted import find_trusted
from features.lists.csv_blocks import Problems
from features.lists.file_names import OUTSIDE, TEXT, is_utf8
from features.lists.folders import Skipped, walk_files
from features.lists.targets import clean_text
from features.settings.data import Data

_ENDING = re.compile(r"\.(jpe?g|jfif|png|webp|bmp|gif|tiff?|mp4|avi|mov|mkv)\Z")


def spell_plainly(name: str) -> str:
    """`name` without percent signs for characters, invisible or decomposed characters."""
    return unicodedata.normalize("NFC", clean_text(unquote(name.replace("\\", "/"))))


def fold_case(name: str) -> str:
    return spell_plainly(name).casefold()


def drop_ending(name: str) -> str:
    """The folded name without the ending of a picture or a video."""
    return _ENDING.sub("", fold_case(name))


LEVELS: dict[str, Callable[[str], str]] = {
    "in another spelling (%20, or characters that look alike)": spell_plainly,
    "in another case": fold_case,
    "with another ending, or with none": drop_ending,
}
"""How a name may differ from that of its picture, from the least on."""
BY_END = "by the end of their path"


class PictureIndex:
    """The pictures below a folder that no line names exactly."""

    def __init__(self, pictures: Iterable[str]) -> None:
        self._pictures = set(pictures)
        self._by_level: list[dict[str, list[str]]] = []
        for spell in LEVELS.values():
            level: dict[str, list[str]] = {}
            for picture in self._pictures:
                level.setdefault(spell(picture), []).append(picture)
            self._by_level.append(level)

    def find_meant(self, name: str) -> tuple[list[str], str]:
        """The pictures that `name` may mean, sorted, and how they were found."""
        for (how, spell), level in zip(LEVELS.items(), self._by_level, strict=True):
            if meant := level.get(spell(name)):
                return sorted(meant), how
        parts = spell_plainly(name).split("/")
        ends = ["/".join(parts[i:]) for i in range(1, len(parts))]
        if meant := [end for end in ends if end in self._pictures]:
            return sorted(meant), BY_END
        for (_, spell), level in zip(LEVELS.items(), self._by_level, strict=True):
            if meant := [picture for end in ends for picture in level.get(spell(end), [])]:
                return sorted(set(meant)), BY_END
        return [], ""


@dataclass(frozen=True)
class FoundPictures:
    """Where the pictures of a list lie."""

    paths: pd.Series
    """`(n,)`, relative to the data root."""
    notes: list[str]
    """How names were found that are no file, and how many were not."""
    advice: str = ""


@dataclass(frozen=True)
class PackedPictures:
    """The pictures in shards, `(n,)` texts each."""

    names: pa.Array
    addresses: pa.Array
    columns: dict[str, pa.Array]
    """What stands beside them, as far as it is read."""
    others: list[str]
    """Names of columns that are not read."""
    words: Mapping[str, int]
    """Labels by what the shards call their classes."""
    notes: list[str]
    folder: str
    """Where they would lie as files."""

    def find_addresses(self, names: pd.Series) -> pd.Series:
        """Of `names` `(m,)`; the path of a file that is not there for those that are no picture."""
        wanted = pa.array(names, TEXT)
        found = self.addresses.take(pc.index_in(wanted, self.names))
        folder, slash = pa.scalar(self.folder, TEXT), pa.scalar("/", TEXT)
        missing = pc.binary_join_element_wise(folder, wanted, slash)
        return pd.Series(pc.coalesce(found, missing), dtype="str")


def find_pictures(
    rows: pd.DataFrame,
    data: Data,
    images: str,
    labelled: bool,
    problems: Problems,
    packed: PackedPictures | None = None,
) -> FoundPictures:
    """Paths of all rows; those that are no file are found where one picture alone can be meant.

    `rows` have `line`, `img_name` and `path`, empty where a name leads elsewhere; of pictures that
    are `packed` it is the name alone. Adds each name to `problems` that leads elsewhere and means
    no picture, that may mean several, or, of rows that are `labelled`, means that of another row. A
    name that means nothing stays as it is: missing.
    """
    root, place = Path(data.root), Path(data.root) / images
    if packed is None:
        prefix = str(PurePosixPath(images) / "-")[:-1]
        names = _list_pictures(place, (os.path.realpath(root), *find_trusted(data.trusted)))
        return _find_meant(rows, names, prefix, place, labelled, problems, root)
    found = _find_meant(rows, packed.names.to_pylist(), "", place, labelled, problems)
    paths = packed.find_addresses(found.paths)
    return replace(found, paths=paths, notes=[*packed.notes, *found.notes])


def _find_meant(
    rows: pd.DataFrame,
    pictures: list[str],
    prefix: str,
    place: Path,
    labelled: bool,
    problems: Problems,
    root: Path | None = None,
) -> FoundPictures:
    """The `pictures` of `rows`, by paths that begin with `prefix`.

    What is a file below `root` is meant, though it is none of them: in a hidden folder, or behind a
    link that is not followed.
    """
    paths = rows["path"]
    there = pc.is_in(pa.array(paths, TEXT), pa.array([prefix + name for name in pictures], TEXT))
    wanted = np.flatnonzero(~there.to_numpy(zero_copy_only=False))
    back = int(pc.sum(pc.match_substring(pa.array(rows["img_name"], TEXT), "\\")).as_py() or 0)
    notes = [f"names with \\ between folders, read as /: {back:,}"] if back else []
    if not pictures:  # nothing can be meant, and a list may have ten million lines
        wanted = np.flatnonzero(paths.eq("").to_numpy(bool))
    if root is not None:
        is_file = [path != "" and os.path.isfile(root / path) for path in paths.iloc[wanted]]
        wanted = wanted[~np.array(is_file, bool)]
    if not len(wanted):
        return FoundPictures(paths, notes)
    claimed = set(paths.to_numpy()[~np.isin(np.arange(len(paths)), wanted)])
    index = PictureIndex(name for name in pictures if prefix + name not in claimed)
    names, lines = rows["img_name"].to_numpy()[wanted], rows["line"].to_numpy()[wanted]
    outside = (paths.to_numpy()[wanted] == "").tolist()
    mended, lost, strange = {}, [], []
    taken: dict[str, int] = {}
    ways: Counter[str] = Counter()
    for row, name, line, is_outside in zip(wanted.tolist(), names, lines, outside, strict=True):
        meant, how = index.find_meant(name)
        if not meant:
            lost.append(name)
            if is_outside:
                strange.append(name)
                problems.add(line, f"{name!r} {OUTSIDE}")
        elif len(meant) > 1:
            problems.add(line, f"{name!r} may mean {' or '.join(map(repr, meant))}: write which")
        elif labelled and taken.setdefault(meant[0], line) != line:
            other = f"as {problems.noun} {taken[meant[0]]} does"
            problems.add(line, f"{name!r} means the picture {meant[0]!r}, {other}")
        else:
            mended[row] = prefix + meant[0]
            ways[how] += 1
    notes += [f"pictures found {how}: {n:,}" for how, n in ways.items()]
    there_lies = _describe_pictures(place, pictures)
    if lost:
        notes.append(f"names that are no picture: {len(lost):,}, such as {lost[0]!r}; {there_lies}")
    if mended:
        paths = paths.copy()
        paths.iloc[list(mended)] = list(mended.values())
    return FoundPictures(paths, notes, _advise_on(strange, there_lies))


def _list_pictures(folder: Path, allowed: tuple[str, ...]) -> list[str]:
    """Files below `folder`, which may lack, and below its links into the places `allowed`."""
    if not folder.is_dir():
        return []
    return [name for name, _ in walk_files(folder, "", Skipped(allowed)) if is_utf8(name)]


def _describe_pictures(folder: Path, pictures: Sequence[str]) -> str:
    if not pictures:
        return f"there is no file below {folder}"
    return f"below {folder} lie {len(pictures):,} files, such as {min(pictures)!r}"


def _advise_on(names: Sequence[str], there_lies: str) -> str:
    """What the names that lead elsewhere begin with; empty if there is none."""
    if not names:
        return ""
    folders = [os.path.dirname(spell_plainly(name)) for name in names]
    same_kind = len({folder.startswith("/") for folder in folders}) == 1
    begin = os.path.commonpath(folders) if same_kind else ""
    begin = f"They begin with {begin!r}, and no" if begin else "No"
    return f"{begin} end of their paths names a picture: {there_lies}."
