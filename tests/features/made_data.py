"""Small things that the tests of `features` are made of: pictures, label files, manifests."""

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from features.core.manifest import Manifest, Role, digest_table
from features.lists.label_file import list_group_keys
from features.pixels.decoding import Pixels, decode_pixels
from features.pixels.facts import Scan
from features.pixels.opening import name_format, open_image
from features.prepare.roles import settle_val, split_roles
from features.prepare.run import attach_scans, finish_role
from features.settings.data import PrepareParams
from features.settings.images import NO_LIMITS, Limits
from features.splits.groups import build_groups

SETTINGS = """
seed: 0
demo: {}
data: {root: data/demo}
split: {}
folds: {count: 3, active: [0, 2]}
images: {size: 64}
weights: {}
sampling: {}
loss: {label_smoothing: 0.1}
optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.05}
schedule: {epochs: 6, warmup_epochs: 0.5, batch_size: 16}
ema: {half_life_epochs: 0.5}
augment: {}
network: {}
backbones:
  small: {model: test_resnet}
  large: {model: test_efficientnet, schedule: {epochs: 12}, optimizer: {lr: 5.0e-4}}
outside: {}
dump: {}
perturb: {}
report: {}
stack: {}
gate: {}
decision: {}
label: {}
"""
"""All sections of `params.yaml`, some with values of their own."""


def draw_noise(seed: int, height: int = 8, width: int = 8) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode_image(content: bytes, limits: Limits = NO_LIMITS) -> tuple[Pixels, str]:
    """`(height, width, 3)` pixels of a file's content, and its format. Raises `ImageProblem`."""
    image = open_image(content, limits)
    return decode_pixels(bytearray(content), image).pixels, name_format(image)


def make_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def write_role(root: Path, role: str, targets: Sequence[int], first: int) -> None:
    """A label list and its pictures, named as in the reference data; no two are the same."""
    folder = root / f"{role}set"
    folder.mkdir(parents=True)
    names = [f"{role}{i:02d}.png" for i in range(len(targets))]
    for i, name in enumerate(names):
        (folder / name).write_bytes(encode(draw_noise(first + i)))
    if role == "test":
        write_table(root / "testset_nolabel.txt", ["img_name"], [[name] for name in names])
    else:
        rows = list(zip(names, targets, strict=True))
        write_table(root / f"{role}set_label.txt", ["img_name", "target"], rows)


def write_data(root: Path, train: int = 20, val: int = 8, test: int = 4) -> Path:
    """A whole data folder: every other row is fake."""
    write_role(root, "train", [i % 2 for i in range(train)], 0)
    write_role(root, "val", [i % 2 for i in range(val)], 1000)
    write_role(root, "test", [0] * test, 2000)
    return root


def prepare_params(root: Path, **sections: dict[str, Any]) -> PrepareParams:
    values: dict[str, dict[str, Any]] = {
        "data": {"root": str(root)},
        "split": {},
        "folds": {"count": 2, "active": [0]},
        "images": {"size": 16, "store_dir": str(root.parent / ".store")},
    }
    for name, section in sections.items():
        values[name] = {**values[name], **section}
    return PrepareParams.model_validate({"seed": 0, **values})


def make_rows(labels: Sequence[int], prefix: str = "t", **columns: Any) -> pd.DataFrame:
    """Readable rows as `prepare` has them before it splits."""
    n = len(labels)
    names = [f"{prefix}{i}.png" for i in range(n)]
    facts = {
        "line": range(2, n + 2),
        "img_name": names,
        "path": [f"{prefix}/{name}" for name in names],
        "label": labels,
        "override": -1,
        "corrected": labels,
        "confirmed": False,
        "weight": 1.0,
        "draw_weight": 1.0,
        "generator": "",
        "source": "",
        "unit": "",
        "face": "",
        **columns,
    }
    scans = [Scan("", 8, 8, 100 + i, "PNG", "RGB", sha256=f"{prefix}-{i}") for i in range(n)]
    columns = [field.name for field in fields(Scan)]
    return attach_scans(pd.DataFrame(facts), pd.DataFrame(scans, columns=columns))


def deal_roles(tables: dict[Role, pd.DataFrame], params: PrepareParams) -> dict[Role, pd.DataFrame]:
    """What `prepare` makes of rows in which no picture stands twice."""
    parts = [rows.assign(role=role) for role, rows in tables.items()]
    rows = settle_val(pd.concat(parts, ignore_index=True), params)
    rows = rows.assign(group=build_groups(rows[list_group_keys(params.data)]))
    return {role: finish_role(part) for role, part in split_roles(rows, params).items()}


def make_manifest(
    role: Role, labels: Sequence[int], folds: Sequence[int] | int = -1, **columns: Any
) -> Manifest:
    domain = "seen" if role == "val" else ""
    rows = make_rows(labels, role, fold=folds, group=range(len(labels)), domain=domain)
    table = finish_role(rows.assign(**columns))
    return Manifest(role, table, digest_table(table))
