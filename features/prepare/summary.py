"""What `prepare` found, counted, and as a page that people read."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from features.core.manifest import HELD_OUT, NO_FOLD, READABLE, ROLES, Role, count_classes
from features.settings.data import Folds, PrepareParams

LISTED = 12
"""Rows of a table in the page; the JSON has all."""
MANY, LARGE_GROUP, UNLIKE = 200, 0.1, 5
"""Of a role of so many rows a group is noticed that holds more than this share, and so many times
the rows of a usual one."""
MORE = 1.5
"""So many times what `split.val_fraction` asks for is no longer that share."""
FEW = 3
"""So many lost images of one class, and none of the other, are no chance worth keeping quiet."""


def summarise(
    roles: Mapping[Role, pd.DataFrame], listed: pd.DataFrame, folds: Folds
) -> dict[str, Any]:
    """Counts by role, class, format, size, generator, source and fold; `listed`: `role`, `status`
    and `label` of all rows of the lists."""
    summary: dict[str, Any] = {}
    for role, rows in roles.items():
        bad = listed[(listed["role"] == role) & (listed["status"] != READABLE)]
        summary[role] = _describe_role(rows[rows["status"] == READABLE]) | {
            "rows": len(rows),
            "unreadable": len(bad),
            "unreadable by class": dict(
                zip(("reals", "fakes"), count_classes(bad["label"]), strict=True)
            ),
            "reasons": _count(bad["status"].map(generalise)),
        }
    summary["val"]["held out"] = int((roles["val"]["domain"] == HELD_OUT).sum())
    train = roles["train"]
    held = {f"fold {k}": train["fold"] == k for k in folds.active}
    held["calibration"] = train["fold"] == NO_FOLD
    summary["folds"] = {
        name: dict(zip(("reals", "fakes"), count_classes(train["label"][keep]), strict=True))
        for name, keep in held.items()
    }
    return summary


def _describe_role(rows: pd.DataFrame) -> dict[str, Any]:
    reals, fakes = count_classes(rows["label"])
    sizes = rows["width"].astype(str) + " x " + rows["height"].astype(str)
    notes = rows["notes"][rows["notes"] != ""].str.split(";").explode()
    named = rows["source"] != ""
    counts = np.bincount(rows["group"])
    counts = counts[counts > 0]
    return {
        "reals": reals,
        "fakes": fakes,
        "groups": len(counts),
        "largest group": int(counts.max(initial=0)),
        "usual group": int(np.median(counts)) if len(counts) else 0,
        "units": int(rows["unit"][rows["unit"] != ""].nunique()),
        "formats": _count_by_class(rows["format"], rows["label"]),
        "sizes": _count_by_class(sizes, rows["label"]),
        "notes": _count(notes),
        "generators": _count(rows["generator"][rows["generator"] != ""]),
        "sources": _count_by_class(rows["source"][named], rows["label"][named]),
    }


def generalise(reason: str) -> str:
    """A reason without its numbers and names, so that like ones are counted together."""
    return re.sub(r"\d+", "N", reason)


def _count(values: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in values.value_counts(sort=True).items()}


def _count_by_class(values: pd.Series, labels: pd.Series) -> dict[str, dict[str, int]]:
    """`{value: {reals, fakes}}`, most frequent first; rows without a label count in neither."""
    table = pd.DataFrame({"value": values, "real": labels == 0, "fake": labels == 1, "n": 1})
    table = table.groupby("value").sum().sort_values("n", ascending=False, kind="stable")
    counts = table.rename(columns={"n": "rows", "real": "reals", "fake": "fakes"}).to_dict("index")
    return {str(value): {str(k): int(n) for k, n in of.items()} for value, of in counts.items()}


def build_markdown(summary: Mapping[str, Any], params: PrepareParams) -> str:
    """The page `summary.md`."""
    parts = [f"# Images of {params.data.root}", "", *_list_roles(summary)]
    if notes := [f"- {role}: {n}" for role, of in summary["read as"].items() for n in of]:
        parts += ["", "## How lists and folders were read", "", *notes]
    seen = (("Formats", "formats"), ("Sizes", "sizes")) if params.data.has_pictures else ()
    for title, key in seen:
        parts += ["", f"## {title} by class", "", *_list_by_class(summary, title[:-1], key)]
    if any(summary[role]["sources"] for role in ROLES):
        parts += ["", "## Sources by class", "", *_list_by_class(summary, "Source", "sources")]
    if overrides := summary.get("label overrides"):
        parts += ["", "## Labels that were looked at", "", *_list_overrides(overrides, params)]
    parts += ["", "## Folds", "", *_list_folds(summary)]
    parts += ["", "## What could not be used", "", *_list_reasons(summary)]
    parts += ["", "## The same picture in several rows", "", *_list_pairs(summary)]
    parts += ["", "## Noticed", "", *_list_notes(summary, params)]
    return "\n".join(parts) + "\n"


def _format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table whose columns line up: the first to the left, the others to the right."""
    cells = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ) + " |"
        for row in cells
    ]  # fmt: skip
    rule = [f":{'-' * (widths[0] + 1)}", *(f"{'-' * (width + 1)}:" for width in widths[1:])]
    return [lines[0], "|" + "|".join(rule) + "|", *lines[1:]]


def _list_roles(summary: Mapping[str, Any]) -> list[str]:
    keys = ("rows", "reals", "fakes", "groups", "unreadable")
    rows = [[role, *(summary[role][key] for key in keys)] for role in ROLES]
    lines = _format_table(("role", *keys), rows)
    if any(summary[role]["units"] for role in ROLES):
        counts = ", ".join(f"{summary[role]['units']:,} in {role}" for role in ROLES)
        lines += ["", f"Units (videos, or data.columns.unit): {counts}."]
    if held := summary["val"]["held out"]:
        lines += ["", f"{held:,} of the val rows are held out from train (split.hold_out)."]
    return lines


def _list_by_class(summary: Mapping[str, Any], title: str, key: str) -> list[str]:
    rows: list[list[object]] = []
    for role in ROLES:
        counted = list(summary[role][key].items())
        for value, n in counted[:LISTED]:
            rows.append([f"{role}: {value}", n["reals"], n["fakes"], n["rows"]])
        if rest := counted[LISTED:]:
            sums = [sum(n[k] for _, n in rest) for k in ("reals", "fakes", "rows")]
            rows.append([f"{role}: {len(rest):,} others", *sums])
    return _format_table((title.lower(), "reals", "fakes", "rows"), rows)


def _list_overrides(counts: Mapping[str, Any], params: PrepareParams) -> list[str]:
    keys = ("to real", "to fake", "confirmed")
    rows = [[role, *(counts[role][key] for key in keys)] for role in ("train", "val")]
    lines = _format_table(("role", *keys), rows)
    lines += ["", f"By {params.data.label_overrides}. Models learn from corrected labels of train."]
    if counts["val"]["to real"] or counts["val"]["to fake"]:
        lines.append("Val keeps the labels of its list; metrics appear on both.")
    if counts["unused"]:
        lines.append(f"{counts['unused']:,} more are of images that could not be used, or dropped.")
    return lines


def _list_folds(summary: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, n["reals"], n["fakes"]]
        for name, n in summary["folds"].items()
        if name != "calibration" or n["reals"]
    ]
    return _format_table(("train rows of", "reals", "fakes"), rows)


def describe_lost(role: Role, reals: int, fakes: int) -> str:
    """That all images of a role that cannot be used are of one class; empty if they are not."""
    if reals + fakes < FEW or (reals and fakes):
        return ""
    lost, kept = ("fakes", "real") if fakes else ("reals", "fake")
    return (
        f"all {reals + fakes:,} {role} images that cannot be used are {lost}, and no {kept} one "
        f"is: look for what happened to the {lost}"
    )


def _list_reasons(summary: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"{role}: {reason}", n] for role in ROLES for reason, n in summary[role]["reasons"].items()
    ]
    lines = []
    for role in ROLES:
        if lopsided := describe_lost(role, **summary[role]["unreadable by class"]):
            lines += [f"{lopsided[0].upper()}{lopsided[1:]}.", ""]
    lines += _format_table(("reason", "images"), rows) if rows else ["All images can be used."]
    if rows:
        lost = [(role, summary[role]["unreadable by class"]) for role in ("train", "val")]
        counts = [f"{n['reals']:,} reals and {n['fakes']:,} fakes of {role}" for role, n in lost]
        lines += ["", f"By class: {', '.join(counts)}."]
        lines += ["", "Each one: quarantine.csv. Test rows keep their line, flagged."]
    if n := summary["repeated lines dropped"]:
        lines += ["", f"{n:,} lines stood twice in a list and were dropped once."]
    return lines


def _list_pairs(summary: Mapping[str, Any]) -> list[str]:
    same = summary["same pictures"]
    rows = [[f"{p['roles']}: {p['kind']}", p["pairs"]] for p in same["pairs"]]
    if not rows:
        return ["None."]
    lines = [*_format_table(("link", "pairs"), rows), ""]
    lines.append(
        f"{same['rows with another of the same picture']:,} rows show a picture that another row "
        f"shows too (at most {same['largest']:,} the same one); in train they share a group. Each "
        "link: duplicates.csv."
    )
    if dropped := same["dropped from train"]:
        lines.append(f"Dropped from train because val shows their picture: {dropped:,} rows.")
    if any(pair["kind"] == "counterpart" for pair in same["pairs"]):
        lines += ["", "A counterpart is a fake and the real that it was made from, or looks like."]
    lines += [
        f"{cut['rows']:,} rows seemed to be one picture, more than can be: linked again within "
        f"{cut['radius']} bits, at most {cut['largest']:,} stay together."
        for cut in same["cut"]
    ]
    return lines


def _list_notes(summary: Mapping[str, Any], params: PrepareParams) -> list[str]:
    lines = [
        f"- {role}: {n:,} images {_NOTES.get(note, note)}"
        for role in ROLES
        for note, n in summary[role]["notes"].items()
    ]
    missed = summary.get("no face found", {})
    lines += [f"- {r}: no face was found in {n:,} images: taken whole" for r, n in missed.items()]
    if params.data.final:
        lines.append("- data.final is true: the rows of val are in train, and none is held out")
    lines += _list_uneven(summary, params)
    spared = summary["folds"]["calibration"]
    if len(params.folds.active) > 1 and params.folds.calibration and not spared["fakes"]:
        lines.append(
            f"- too few rows for calibration rows ({params.folds.calibration_min} of each class "
            "wanted): thresholds come from out-of-fold scores of single stackers"
        )
    return lines or ["Nothing."]


def _list_uneven(summary: Mapping[str, Any], params: PrepareParams) -> list[str]:
    """What groups make of shares: they are never cut."""
    lines = []
    for role in ("train", "val"):
        rows, largest = summary[role]["rows"], summary[role]["largest group"]
        is_unlike = summary[role]["groups"] < 3 or largest > UNLIKE * summary[role]["usual group"]
        if rows >= MANY and largest > LARGE_GROUP * rows and is_unlike:
            lines.append(
                f"- {role}: one group holds {largest:,} of {rows:,} rows, which are never parted: "
                "do data.group_columns, units, originals and same pictures link what they should?"
            )
    kept = summary["val"]["rows"] - summary["val"]["held out"]
    total = summary["train"]["rows"] + kept
    share = params.split.val_fraction * (1 - params.split.blend_from_val)
    is_carved = params.data.val is None and not params.data.final
    if is_carved and total >= MANY and kept > MORE * share * total:
        lines.append(
            f"- val: {kept:,} of {total:,} rows were carved out, where split.val_fraction "
            f"({params.split.val_fraction:g}) asks for {round(share * total):,}: its "
            f"largest group has {summary['val']['largest group']:,}"
        )
    return lines


_NOTES = {
    "animated": "are animated: the first frame counts",
    "broken animation": "are animated, and broken behind the first frame, which counts",
    "transparent": "are transparent: laid on white",
    "16 bit": "have 16 bits: scaled to 8",
    "8 of 16 bit": "have 16 or 32 bits, none above 255: taken for 8 bits",
    "10 of 16 bit": "have 16 or 32 bits: taken for 10, as their tags say, and scaled to 8",
    "12 of 16 bit": "have 16 or 32 bits, none above 4095: taken for 12 bits and scaled to 8",
    "14 of 16 bit": "have 16 or 32 bits: taken for 14, as their tags say, and scaled to 8",
    "rotated": "were turned upright as their EXIF block says",
    "broken EXIF": "have a broken EXIF block, which is ignored",
    "misnamed": "have an extension of another format: read by content",
}
