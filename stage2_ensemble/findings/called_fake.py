"""Which rows what ships calls fake, as labels say it: by source and by generator, worst first.

Of reals that is the false positive rate, of fakes the true positive rate; on all rows of val. Each
share has two intervals: its own at 95 %, and a wider one with the risk of 5 % shared among all
names of its list (Bonferroni's), by which the worst of many may be held against all rows. All rows
hold those of the name, so their difference varies less than the name's own share: to compare its
interval with their rate claims too little rather than too much.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.core.auc import LEVEL
from features.core.manifest import Ids, Manifest
from stage2_ensemble.columns.columns import Mask
from stage2_ensemble.measures.shares import estimate_share

Names = npt.NDArray[np.object_]


def measure_called_fake(called: Mask, val: Manifest) -> dict[str, Any]:
    """`called_fake` of `metrics.json`. `called`: `(n,)` rows of `val` that are called fake.

    Lists are sorted by the end of the wider interval that is nearer to the rate of all rows, so
    that names of a few rows do not come first by chance.
    """
    return {
        "reals": _measure_class(called, val, 0, repeated="generators"),
        "fakes": _measure_class(called, val, 1, repeated="sources"),
    }


def _measure_class(called: Mask, val: Manifest, label: int, repeated: str) -> dict[str, Any]:
    """Rows of one class; `repeated` is left out where sources and generators are the same."""
    rows = np.flatnonzero(val.labels == label)
    hits, groups = called[rows], val.groups[rows]
    names = {
        f"{column}s": val.read(column).iloc[rows].to_numpy(object)
        for column in ("source", "generator")
    }
    if np.array_equal(names["sources"], names["generators"]):
        names[repeated] = np.full(len(rows), "", object)
    lists = {key: list(_measure_names(hits, groups, own)) for key, own in names.items()}
    for entries in lists.values():
        entries.sort(key=_rank_real if label == 0 else _rank_fake)
    return {"all": _measure_rows(hits, groups), **lists}


def _measure_names(called: Mask, groups: Ids, names: Names) -> Iterator[dict[str, Any]]:
    codes, known = pd.factorize(names)
    ends = np.cumsum(np.bincount(codes))[:-1]
    parts = np.split(np.argsort(codes, kind="stable"), ends)
    named = [(str(name), rows) for name, rows in zip(known, parts, strict=False) if name]
    for name, rows in named:
        shared = estimate_share(called[rows], groups[rows], level=1 - (1 - LEVEL) / len(named))
        yield {
            "name": name,
            **_measure_rows(called[rows], groups[rows]),
            "shared_low": shared.low,
            "shared_high": shared.high,
        }


def _measure_rows(called: Mask, groups: Ids) -> dict[str, Any]:
    share = estimate_share(called, groups)
    return {
        "called_fake": share.value,
        "called_fake_low": share.low,
        "called_fake_high": share.high,
        "rows": len(called),
        "groups": len(np.unique(groups)),
    }


def _rank_real(entry: dict[str, Any]) -> tuple[float, float, str]:
    low = entry["shared_low"]
    return (1.0 if low is None else -low, -entry["called_fake"], entry["name"])


def _rank_fake(entry: dict[str, Any]) -> tuple[float, float, str]:
    high = entry["shared_high"]
    return (2.0 if high is None else high, entry["called_fake"], entry["name"])
