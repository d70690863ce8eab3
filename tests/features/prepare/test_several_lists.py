"""A list in each folder: `shard_*/labels.csv`, with the pictures of that folder."""

from pathlib import Path

import pytest
from made_data import draw_noise, encode, prepare_params, write_table
from pydantic import ValidationError

from features.core.manifest import read_manifest
from features.errors import ManifestError
from features.inputs.contents import KnownContents
from features.inputs.run import describe_inputs
from features.prepare.run import run
from features.settings.data import Data, RoleFiles

DATA = {
    "train": {"labels": "shard_*/labels.csv", "images": "shard_*/images"},
    "val": None,
    "test": None,
    "columns": {"name": "image_name", "target": "label"},
}


def write_shard(root: Path, shard: int, names: list[str]) -> None:
    """As NTIRE has them: a column of numbers without a name, names without endings."""
    images = root / f"shard_{shard}" / "images"
    images.mkdir(parents=True)
    for i, name in enumerate(names):
        (images / f"{name}.png").write_bytes(encode(draw_noise(100 * shard + i)))
    rows = [(i, name, i % 2) for i, name in enumerate(names)]
    write_table(images.parent / "labels.csv", ["", "image_name", "label"], rows)


@pytest.fixture
def params(tmp_path: Path, one_process: None):
    root = tmp_path / "ntire"
    for shard in (0, 1):
        write_shard(root, shard, [f"{shard}{letter}" for letter in "abcdefghij"])
    write_table(root / "shard_notes.csv", ["image_name"], [])
    (root / "shard_2").mkdir()  # without a list
    return prepare_params(root, data=DATA, split={"val_fraction": 0.2})


def test_each_list_is_read_with_the_pictures_beside_it(params, tmp_path: Path) -> None:
    run(params, tmp_path / "out")
    found: dict[str, str] = {}
    for role in ("train", "val"):
        table = read_manifest(tmp_path / "out", role).table
        found |= dict(zip(table["img_name"], table["path"], strict=True))
    assert found == {
        f"{shard}{letter}": f"shard_{shard}/images/{shard}{letter}.png"
        for shard in (0, 1)
        for letter in "abcdefghij"
    }


def test_a_change_of_one_list_is_noticed(params, tmp_path: Path) -> None:
    before = describe_inputs(params.data, KnownContents({}))
    path = Path(params.data.root, "shard_1/labels.csv")
    path.write_text(path.read_text().replace("1a,0", "1a,1"))
    Path(params.data.root, "shard_0/images/0a.png").unlink()
    after = describe_inputs(params.data, KnownContents({}))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"train/shard_0/labels.csv", "train/shard_1/labels.csv"}


def test_problems_of_all_lists_are_told_together(params, tmp_path: Path) -> None:
    for shard in (0, 1):
        with open(Path(params.data.root, f"shard_{shard}/labels.csv"), "a") as file:
            file.write(f"9,x{shard},7\n")
    with pytest.raises(ManifestError, match=r"(?s)shard_0/labels.*'7'.*shard_1/labels.*'7'"):
        run(params, tmp_path / "out")


def test_a_name_stands_in_one_list_alone(params, tmp_path: Path) -> None:
    root = Path(params.data.root)
    (root / "shard_1/images/0a.png").write_bytes(encode(draw_noise(7)))
    with open(root / "shard_1/labels.csv", "a") as file:
        file.write("10,0a,1\n")
    problem = "'0a' stands in shard_0/labels.csv and in shard_1/labels.csv"
    with pytest.raises(ManifestError, match=problem):
        run(params, tmp_path / "out")


def test_a_file_stands_in_one_list_alone_however_it_is_spelt(params, tmp_path: Path) -> None:
    files = {"labels": "shard_*/labels.csv", "images": "shard_0/images"}
    for shard, names in enumerate((["0a.png", "0b.png"], ["0c.png", "./0a.png"])):
        place = Path(params.data.root, f"shard_{shard}/labels.csv")
        write_table(place, ["image_name", "label"], [(name, i) for i, name in enumerate(names)])
    data = params.data.model_copy(update={"train": RoleFiles(**files)})
    problem = "'shard_0/images/0a.png' stands in shard_0/labels.csv and in shard_1/labels.csv"
    with pytest.raises(ManifestError, match=problem):
        run(params.model_copy(update={"data": data}), tmp_path / "out")


def test_lists_that_are_not_there_or_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    data = Data(root=str(tmp_path), **DATA)
    with pytest.raises(ManifestError, match=r"data\.train\.labels: no list is called shard_\*"):
        describe_inputs(data, KnownContents({}))
    with pytest.raises(ValidationError, match="one \\* is enough"):
        RoleFiles(labels="*/labels_*.csv", images="*")
