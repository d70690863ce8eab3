"""The same picture in several rows: found, linked, and kept from standing in train and val."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.manifest import HELD_OUT, READABLE, ROLES, Ids
from features.errors import ManifestError
from features.pixels.thumbnails import Thumbnails
from features.prepare.near_duplicates import NO_LINKS, Cut, link_near
from features.prepare.video_rows import are_of_one_file, spread_over_files
from features.splits.groups import build_groups
from features.splits.names import link_repeated, screen_repeated

EXACT, NEAR, COUNTERPART = "exact", "near", "counterpart"
"""Equal bytes; nearly equal pictures; nearly equal pictures of which one is real and one fake."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SamePictures:
    """Links between rows of all roles, and what train and val are by themselves.

    `pairs`: columns `first`, `second` (positions), `kind`, `distance` (bits of 256), `correlation`.
    `links` `(m, 2)`: positions in train and val. `pictures` `(n,)`: rows that show one picture,
    directly or by others of these, share a number. A test list changes neither.
    `cuts`: components that were too large to be one picture.
    """

    pairs: pd.DataFrame
    links: Ids
    pictures: Ids
    cuts: tuple[Cut, ...]


def find_same_pictures(
    rows: pd.DataFrame, thumbnails: Thumbnails | None, scratch: Path | None = None
) -> SamePictures:
    """Links of readable `rows`: by `sha256`, and by `hash` and any `thumbnails` (by position).

    Rows of test stand behind all others, and are linked when these are.
    `scratch`: a folder for what memory does not hold.
    """
    readable = np.flatnonzero((rows["status"] == READABLE).to_numpy())
    exact = link_repeated(rows["sha256"])  # what cannot be read has none
    first = np.setdiff1d(readable, exact[:, 1])  # one row for each content
    is_test = (rows["role"] == "test").to_numpy(bool)
    near = NO_LINKS
    if thumbnails is not None:
        hashes = np.frombuffer(b"".join(rows["hash"].to_numpy()[first]), np.uint8).reshape(-1, 32)
        near = link_near(hashes, _Subset(thumbnails, first), scratch=scratch, later=is_test[first])
    labels = rows["corrected"].to_numpy()
    a, b = first[near.rows[:, 0]], first[near.rows[:, 1]]
    opposite = (labels[a] != labels[b]) & (labels[a] >= 0) & (labels[b] >= 0)
    pairs = pd.DataFrame(
        {
            "first": np.concatenate([exact[:, 0], a]),
            "second": np.concatenate([exact[:, 1], b]),
            "kind": [EXACT] * len(exact) + np.where(opposite, COUNTERPART, NEAR).tolist(),
            "distance": np.concatenate([np.zeros(len(exact), int), near.distance]),
            "correlation": np.concatenate([np.ones(len(exact)), near.correlation]),
        }
    )
    links = _stack_links(pairs)
    links = links[~is_test[links].any(axis=1)]
    one, other = (rows[["role", "path"]].iloc[pairs[side]] for side in ("first", "second"))
    is_known = are_of_one_file(one, other)  # frames of one video are alike, and no finding
    pairs = pairs[~is_known].reset_index(drop=True)
    return SamePictures(pairs, links, _number_pictures(links, len(rows)), near.cuts)


def _stack_links(pairs: pd.DataFrame) -> Ids:
    return pairs[["first", "second"]].to_numpy(np.int64).reshape(-1, 2)


def _number_pictures(links: Ids, n: int) -> Ids:
    return build_groups(pd.DataFrame(index=range(n)), links)


class _Subset:
    """Thumbnails of some rows, by their position among them."""

    def __init__(self, thumbnails: Thumbnails, rows: Ids) -> None:
        self._thumbnails, self._rows = thumbnails, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Ids) -> npt.NDArray[np.uint8]:
        return self._thumbnails[self._rows[rows]]


def find_label_conflicts(rows: pd.DataFrame, column: str) -> Mask:
    """`(n,)`: readable rows whose very file stands under both labels of `column`."""
    twice = screen_repeated(rows["sha256"])  # most contents stand once
    found = rows[["sha256", column, "status"]].iloc[twice]
    labelled = ((found[column] >= 0) & (found["status"] == READABLE)).to_numpy()
    found, twice = found[labelled], twice[labelled]
    conflicts = np.zeros(len(rows), bool)
    conflicts[twice] = found.groupby("sha256")[column].transform("nunique").to_numpy() > 1
    return conflicts


def find_leaks(rows: pd.DataFrame, pictures: Ids) -> Mask:
    """`(n,)`: train rows that show the same picture as a val row.

    A held-out val row counts only for its own label: the real that a held-out fake was made from
    stays in train, where it can but lower the figures.
    """
    train = (rows["role"] == "train").to_numpy()
    val = (rows["role"] == "val").to_numpy()
    held = val & (rows["domain"] == HELD_OUT).to_numpy()
    leaks = np.isin(pictures, pictures[val & ~held])
    signed = pictures * 2 + rows["corrected"].to_numpy(np.int64)
    return train & (leaks | np.isin(signed, signed[held]))


def list_pairs(rows: pd.DataFrame, same: SamePictures, dropped: Mask) -> pd.DataFrame:
    """One line a link, for people: both names and roles, how alike, and what was done."""
    roles, names = rows["role"].to_numpy(), rows["path"].to_numpy()
    rank = rows["role"].map(ROLES.index).to_numpy()
    a, b = _stack_links(same.pairs).T
    swap = rank[a] > rank[b]  # a held-out row lies among those of train
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    crossing = (roles[a] != roles[b]) | (roles[b] == "test")
    done = np.where(dropped[a] | dropped[b], "dropped from train", "grouped")
    done = np.where(crossing & ~(dropped[a] | dropped[b]), "reported", done)
    return pd.DataFrame(
        {
            "first_role": roles[a],
            "first": names[a],
            "second_role": roles[b],
            "second": names[b],
            "kind": same.pairs["kind"],
            "distance": same.pairs["distance"],
            "correlation": same.pairs["correlation"].round(4),
            "action": done,
        }
    )


def apply_policy(
    rows: pd.DataFrame, same: SamePictures, policy: Literal["drop_train", "report", "error"]
) -> Mask:
    """`(n,)` train rows to drop. Raises `ManifestError` with the pairs where policy is `error`."""
    leaks = spread_over_files(rows, find_leaks(rows, same.pictures))
    if policy == "error" and leaks.any():
        listed = list_pairs(rows, same, leaks)
        crossing = (listed["first_role"] == "train") & (listed["second_role"] == "val")
        listed = listed[crossing & (listed["action"] == "dropped from train")]
        problems = [
            f"{pair.first} ({pair.first_role}) and {pair.second} ({pair.second_role}): {pair.kind}"
            for pair in listed.itertuples()
        ]
        advice = "Mend the lists, or set split.cross_role_duplicates: drop_train."
        raise ManifestError("the same pictures in train and val", problems, advice)
    return leaks if policy == "drop_train" else np.zeros(len(rows), bool)


def count_pairs(listed: pd.DataFrame, same: SamePictures, dropped: Mask) -> dict[str, Any]:
    """Counts for the summary: links by kind and by roles, dropped rows, the largest picture."""
    sizes = np.bincount(_number_pictures(_stack_links(same.pairs), len(same.pictures)))
    counts = Counter(zip(listed["first_role"], listed["second_role"], listed["kind"], strict=True))
    return {
        "pairs": [
            {"roles": a if a == b else f"{a}–{b}", "kind": kind, "pairs": n}
            for (a, b, kind), n in sorted(counts.items())
        ],
        "rows with another of the same picture": int(sizes[sizes > 1].sum()),
        "largest": int(sizes.max(initial=0)),
        "dropped from train": int(dropped.sum()),
        "cut": [
            {"rows": cut.rows, "largest": cut.largest, "radius": cut.radius} for cut in same.cuts
        ],
    }
