"""Pictures in tar and Parquet shards beside the same ones in a folder, in turn in one process.

`list`: names and labels of all (of the folder by a list). `scan`: `prepare` reads, decodes and
records all, into an empty cache. `read`: contents in random order, no decoding. `batches`: squares
in random order, decoded at each use (`images.store: none`). Of tables the last two are measured on
a few rows, each of which reads its row group, as in a set that memory does not hold. Seconds are
those of processors; a ratio above 1: the shards take less.

    python -m benchmarks.shards [--quick]
"""

import io
import json
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image

from features.core.manifest import Ids
from features.core.trusted import ANYWHERE
from features.lists.class_folders import read_role
from features.pixels.cache import ImageCache
from features.pixels.reading import read_content
from features.pixels.store import FileStore
from features.settings.data import Data
from features.settings.images import Images
from features.shards import opening

PER_SHARD, GROUP, BATCH = 500, 100, 64
SIDES = ("folder", "tar", "parquet")


def draw_pictures(count: int, side: int) -> Iterator[bytes]:
    """JPEGs of smooth noise, about as large as photographs of their size."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        small = rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        target = io.BytesIO()
        Image.fromarray(small).resize((side, side)).save(target, "JPEG", quality=90)
        yield target.getvalue()


def write_all(root: Path, count: int, side: int) -> None:
    """The pictures three times, with labels: `folder` and its list, `tar`, `parquet`."""
    for name in SIDES:
        (root / name).mkdir(parents=True)
    lines, waiting = ["img_name,target"], []
    for i, content in enumerate(draw_pictures(count, side)):
        name = f"{i:07d}"
        (root / "folder" / f"{name}.jpg").write_bytes(content)
        lines.append(f"{name}.jpg,{i % 2}")
        waiting.append((name, i % 2, content))
        if len(waiting) == PER_SHARD or i == count - 1:
            write_shards(root, i // PER_SHARD, waiting)
            waiting.clear()
    (root / "list.csv").write_text("\n".join(lines) + "\n")


def write_shards(root: Path, number: int, pictures: list[tuple[str, int, bytes]]) -> None:
    """A tar as WebDataset's, and a table as Hugging Face's."""
    with tarfile.open(root / f"tar/{number:05d}.tar", "w") as archive:
        for name, target, content in pictures:
            facts = json.dumps({"target": target}).encode()
            for ending, own in (("jpg", content), ("json", facts)):
                member = tarfile.TarInfo(f"{name}.{ending}")
                member.size = len(own)
                archive.addfile(member, io.BytesIO(own))
    cells = [{"bytes": content, "path": f"{name}.jpg"} for name, _, content in pictures]
    table = pa.table({"image": cells, "target": [target for _, target, _ in pictures]})
    pq.write_table(table, root / f"parquet/{number:05d}.parquet", row_group_size=GROUP)


def list_paths(root: Path, side: str) -> list[str]:
    """Addresses of all pictures, as rows have them."""
    labels = "list.csv" if side == "folder" else None
    train = {"labels": labels, "images": side}
    data = Data.model_validate({"root": str(root), "train": train})
    return list(read_role(data, {}, "train").rows["path"])


def scan(root: Path, paths: list[str]) -> list[str]:
    """`prepare`'s pass over all pictures; their sha256s."""
    images = Images(size=256, store="raw", store_dir=str(root / "store"))
    with ImageCache(images) as cache:
        found = cache.scan(root, paths, Data(root=str(root)), True, "scan")
    shutil.rmtree(root / "store")
    return list(found["sha256"])


def measure(do: Callable[[], object]) -> float:
    """Seconds of all processors."""
    start = time.process_time()
    do()
    return time.process_time() - start


def compare(root: Path, turns: int) -> dict[str, dict[str, list[float]]]:
    """Seconds by part and side."""
    paths = {side: list_paths(root, side) for side in SIDES}
    sha256s = {side: scan(root, paths[side]) for side in SIDES}  # also warms up
    assert sha256s["folder"] == sha256s["tar"] == sha256s["parquet"]
    images = Images(size=256, store="none", store_dir=str(root / "store"))
    order = np.random.default_rng(0).permutation(len(paths["folder"]))
    few = order[:BATCH]
    stores = {side: FileStore(root, paths[side], sha256s[side], images) for side in SIDES}

    def read(side: str, rows: Ids) -> None:
        for row in rows.tolist():
            read_content(root, paths[side][row], ANYWHERE)

    def gather(side: str, rows: Ids) -> None:
        for start in range(0, len(rows), BATCH):
            stores[side].gather(rows[start : start + BATCH])

    def measure_random(do: Callable[[str, Ids], object], side: str) -> float:
        if side != "parquet":
            return measure(lambda: do(side, order))
        opening.KEPT_BYTES, kept = 0, opening.KEPT_BYTES
        seconds = measure(lambda: do(side, few))
        opening.KEPT_BYTES = kept
        return seconds * len(order) / len(few)

    parts: dict[str, Callable[[str], float]] = {
        "list": lambda side: measure(lambda: list_paths(root, side)),
        "scan": lambda side: measure(lambda: scan(root, paths[side])),
        "read": lambda side: measure_random(read, side),
        "batches": lambda side: measure_random(gather, side),
    }
    taken: dict[str, dict[str, list[float]]] = {part: {s: [] for s in SIDES} for part in parts}
    for turn in range(turns):
        for part, time_side in parts.items():
            for side in SIDES if turn % 2 else SIDES[::-1]:
                taken[part][side].append(time_side(side))
    return taken


def main(quick: Annotated[bool, typer.Option(help="600 small pictures.")] = False) -> None:
    """Print a line for each part."""
    count, side, turns = (600, 128, 3) if quick else (2000, 512, 3)
    with tempfile.TemporaryDirectory() as folder:
        write_all(Path(folder), count, side)
        taken = compare(Path(folder), turns)
    for part, sides in taken.items():
        middle = {name: statistics.median(times) for name, times in sides.items()}
        told = ", ".join(f"{name} {1e6 * middle[name] / count:,.0f} µs" for name in SIDES)
        print(f"{part}: {told} a picture of {side} x {side}")
        for name in SIDES[1:]:
            print(f"ratio shards_{part}_{name} {middle['folder'] / middle[name]:.2f}")


if __name__ == "__main__":
    typer.run(main)
