"""Spoiled label files and shards: rows, or an error that names the file; no crash, no hang."""

import re
import tarfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from made_data import prepare_params
from made_shards import write_image_table, write_tar
from mutations import COUNT, list_mutations

from features.errors import ImageProblem, PipelineError
from features.lists.class_folders import read_role
from features.pixels.reading import read_inside
from features.settings.data import Data

FEW = 60
SECONDS = 5.0
"""One file may take so long, on a busy machine."""
ROWS = [(f"a{i}.png", i % 2) for i in range(20)]
FILES = {
    "commas": "img_name,target\n" + "".join(f"{name},{target}\n" for name, target in ROWS),
    "semicolons": "img_name;target\n" + "".join(f"{name};{target}\n" for name, target in ROWS),
    "quotes": '"img_name","target"\r\n' + "".join(f'"{n}","{t}"\r\n' for n, t in ROWS),
    "a byte-order mark": "\ufeffimg_name,target\nÄ.png,0\n日本.png,1\n",
    "tabs": "img_name\ttarget\n" + "".join(f"{name}\t{target}\n" for name, target in ROWS),
    "JSON": '{"a0.png": {"label": "REAL"}, "a1.png": {"label": "FAKE", "original": "a0.png"}}',
}

FORMS = {"GNU tar": tarfile.GNU_FORMAT, "PAX tar": tarfile.PAX_FORMAT}


def read(data: Data) -> str:
    """`rows`, or the error."""
    try:
        rows = read_role(data, {}, "train").rows
    except PipelineError as error:
        return str(error)
    assert rows["label"].isin([0, 1]).all()
    return "rows"


@pytest.mark.fault(
    "flipped, cut, inserted, zeroed and repeated parts of pictures and label files; extreme "
    "numbers in headers",
)
@pytest.mark.timeout(7200 if COUNT else 120)
@pytest.mark.parametrize("kind", FILES)
def test_a_spoiled_label_file_is_read_or_told(tmp_path: Path, kind: str) -> None:
    (tmp_path / "data" / "trainset").mkdir(parents=True)
    for name, _ in ROWS:
        (tmp_path / "data" / "trainset" / name).touch()
    params = prepare_params(tmp_path / "data")
    path = tmp_path / "data" / "trainset_label.txt"
    ends: Counter[str] = Counter()
    for content in list_mutations(FILES[kind].encode(), COUNT or FEW):
        path.write_bytes(content)  # stays there if the process dies
        begun = time.perf_counter()
        end = read(params.data)
        assert end == "rows" or path.name in end
        ends[re.sub(r"\d+", "N", end.splitlines()[0]).rpartition("/")[2]] += 1
        assert time.perf_counter() - begun < SECONDS
    print(f"\n{kind}: {dict(ends)}")


def write_shard(folder: Path, kind: str) -> Path:
    """Twenty samples; of a tar some with names for which a header is too short."""
    if kind == "parquet":
        columns = {"target": [target for _, target in ROWS]}
        names = [name for name, _ in ROWS]
        return write_image_table(folder / "x.parquet", [b"x" * 40] * 20, columns, names, group=8)
    members: dict[str, bytes] = {}
    for i, (name, target) in enumerate(ROWS):
        stem = f"{'long/' * 40 * (i % 5 == 0)}{name.removesuffix('.png')}"
        facts = ("json", b'{"target": %d}') if i % 2 else ("cls", b"%d")
        members |= {f"{stem}.png": b"x" * 40, f"{stem}.{facts[0]}": facts[1] % target}
    return write_tar(folder / "x.tar", members, FORMS[kind])


@pytest.mark.timeout(7200 if COUNT else 120)
@pytest.mark.parametrize("kind", [*FORMS, "parquet"])
def test_a_spoiled_shard_is_read_or_told(tmp_path: Path, kind: str) -> None:
    shard = write_shard(tmp_path, kind)
    train = {"labels": None, "images": shard.name}
    data = Data.model_validate({"root": str(tmp_path), "train": train})
    assert read(data) == "rows"
    ends: Counter[str] = Counter()
    for content in list_mutations(shard.read_bytes(), COUNT or FEW):
        shard.write_bytes(content)  # stays there if the process dies
        begun = time.perf_counter()
        end = read(data)
        assert end == "rows" or shard.name in end
        if end == "rows":
            for path in read_role(data, {}, "train").rows["path"]:
                with suppress(ImageProblem):
                    read_inside(tmp_path, path)
        ends[re.sub(r"\d+", "N", end.splitlines()[-1])[:60]] += 1
        assert time.perf_counter() - begun < SECONDS
    print(f"\n{kind}: {dict(ends)}")
