"""The lines of `params.yaml` that read a list as it is, where it names its columns otherwise."""

import json
import re
from collections.abc import Iterable, Sequence

from features.lists.targets import simplify_target
from features.settings.data import Data

NAMES = (
    *("img_name", "filename", "file_name", "file", "image", "img", "image_name", "path"),
    *("image_path", "img_path", "filepath", "file_path", "name", "fname", "image_id", "id"),
)
TARGETS = (
    *("target", "label", "labels", "class", "class_name", "y", "gt", "is_fake", "fake"),
    *("is_real", "real", "category", "type"),
)
"""What columns of names, and of targets, are called elsewhere, in the order of preference."""
REALS = (
    *("real", "original", "authentic", "genuine", "pristine", "bonafide", "bona-fide", "live"),
    *("nature", "natural", "photo", "human"),
)
FAKES = (
    *("fake", "forged", "forgery", "manipulated", "tampered", "synthetic", "generated"),
    *("spoof", "spoofed", "deepfake", "ai", "altered", "edited"),
)
_PLAIN = re.compile(r"[A-Za-z_][\w-]*")
_BOOLEANS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def choose_column(header: Sequence[str], known: Sequence[str]) -> str:
    """The column whose name is the first of the `known` ones; empty if none is."""
    folded = {name.casefold().replace(" ", "_"): name for name in reversed(header)}
    return next((folded[name] for name in known if name in folded), "")


def suggest_columns(header: Sequence[str], data: Data, labelled: bool) -> list[str]:
    """Lines below `data:` by which the columns of `header` are read; none where it is unclear."""
    columns = data.columns
    name = columns.name if columns.name in header else choose_column(header, NAMES)
    target = columns.target if columns.target in header else choose_column(header, TARGETS)
    if not name or (not target and labelled):
        return []
    chosen = {"name": name}
    if target:
        chosen["target"] = target
    for field in ("weight", "draw_weight", "generator", "source", "unit"):
        value = getattr(columns, field)
        if value is not None and value in header:
            chosen[field] = value
    lines = [f"  columns: {_write_mapping(chosen)}"]
    kept = [column for column in data.group_columns if column in header]
    if len(kept) < len(data.group_columns):
        lines.append(f"  group_columns: {write_list(kept)}")
    return lines


def suggest_classes(targets: Iterable[str], column: str) -> list[str]:
    """Lines below `data:` by which these targets are read.

    Two readings, and which is which, where nothing says what is real.
    """
    texts = sorted(set(targets) - {""})
    if len(texts) < 2:
        return []
    reals = [text for text in texts if _means(text, column, 0)]
    fakes = [text for text in texts if _means(text, column, 1)]
    if reals and fakes and len(reals) + len(fakes) == len(texts):
        return [_write_classes(reals, fakes)]
    if len(texts) > 2:
        return []
    return [
        f"{_write_classes([real], [fake])}   # if {real!r} is real"
        for real, fake in (texts, texts[::-1])
    ]


def _means(text: str, column: str, label: int) -> bool:
    simple = simplify_target(text)
    if simple in ("true", "1", "yes", "false", "0", "no"):
        positive = simple in ("true", "1", "yes")
        about = column.casefold().removeprefix("is_")
        if about in ("real", "fake"):
            return positive == ((about == "fake") == (label == 1))
        return simple == str(label)
    return simple in (REALS, FAKES)[label]


def _write_classes(reals: Sequence[str], fakes: Sequence[str]) -> str:
    return f"  classes: {{real: {write_list(reals)}, fake: {write_list(fakes)}}}"


def _write_mapping(values: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {write_scalar(value)}" for key, value in values.items()) + "}"


def write_list(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(write_scalar, values)) + "]"


def write_scalar(text: str) -> str:
    """`text` as YAML that is read as text again."""
    if _PLAIN.fullmatch(text) and text.casefold() not in _BOOLEANS:
        return text
    return json.dumps(text, ensure_ascii=False)
