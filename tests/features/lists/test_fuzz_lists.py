"""Spoiled label files: rows, or an error that names the file; no crash, no hang."""

import re
import time
from collections import Counter
from pathlib import Path

import pytest
from made_data import prepare_params
from mutations import COUNT, list_mutations

from features.errors import PipelineError
from features.lists.class_folders import read_role
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
