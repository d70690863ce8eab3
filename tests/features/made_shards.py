"""Shards that the tests of `features` are made of."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def write_tar(path: Path, files: Mapping[str, bytes], kind: int = tarfile.GNU_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_image_table(
    path: Path,
    contents: Sequence[bytes | None],
    columns: Mapping[str, Sequence[Any]],
    names: Sequence[str] | None = None,
    class_names: Sequence[str] = (),
    group: int = 3,
) -> Path:
    """A column `image`, as that of Hugging Face where there are `names`; `target` is a `ClassLabel`
    where there are `class_names`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells: Sequence[Any] = contents
    if names is not None:
        pairs = zip(contents, names, strict=True)
        cells = [{"bytes": content, "path": name} for content, name in pairs]
    table = pa.table({"image": cells, **columns})
    if class_names:
        features = {"target": {"names": list(class_names), "_type": "ClassLabel"}}
        written = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": written})
    pq.write_table(table, path, row_group_size=group)
    return path


def read_folder(folder: Path) -> dict[str, bytes]:
    """Contents by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
