"""Tar archives and Parquet tables in place of folders: the same rows, from other addresses."""

import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_data import draw_noise, encode, prepare_params, write_table
from made_shards import read_folder, write_image_table, write_tar
from video_files import draw_frames, write_video

from features.core.manifest import ROLES, Manifest, Role, read_manifest
from features.core.trusted import ANYWHERE
from features.errors import ManifestError, StaleArtifactError
from features.pixels import scanning
from features.pixels.reading import order_reads, read_content
from features.pixels.store import open_store
from features.prepare.run import run
from features.prepare.verify import verify_data
from features.settings.data import PrepareParams
from features.shards.names import parse_member

pytestmark = pytest.mark.usefixtures("one_process")
LISTS = {"train": "trainset_label.txt", "val": "valset_label.txt", "test": "testset_nolabel.txt"}
Facts = Mapping[str, str]


def prepare(root: Path, out: Path, data: Mapping[str, Any], **images: Any) -> PrepareParams:
    params = prepare_params(root, data=dict(data), images=images)
    run(params, out)
    return params


def read_all(out: Path) -> dict[Role, Manifest]:
    return {role: read_manifest(out, role) for role in ROLES}


def read_targets(data: Path, role: str) -> dict[str, str]:
    table = pd.read_csv(data / LISTS[role], dtype=str)
    return dict(zip(table["img_name"], table.get("target", [""] * len(table)), strict=True))


def halve(files: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every other file in one shard, so that no shard is a piece of the sorted names."""
    items = list(files.items())
    return [dict(items[::2]), dict(items[1::2])]


def pack_with_list(folder: Path, files: Mapping[str, bytes], targets: Facts) -> None:
    for number, part in enumerate(halve(files)):
        write_tar(folder / f"{number}.tar", {f"./{name}": data for name, data in part.items()})


def pack_with_classes(folder: Path, files: Mapping[str, bytes], targets: Facts) -> None:
    for number, part in enumerate(halve(files)):
        members = {}
        for name, content in part.items():
            members[name] = content
            members[name.replace(".png", ".cls")] = f"{targets[name]}\n".encode()
            members["._" + name] = b"of a Mac"
        write_tar(folder / f"{number}.tar", members, tarfile.PAX_FORMAT)


def pack_with_json(folder: Path, files: Mapping[str, bytes], targets: Facts) -> None:
    for number, part in enumerate(halve(files)):
        facts = {
            name.replace(".png", ".json"): json.dumps({"target": targets[name], "boxes": [1]})
            for name in part
        }
        texts = {name: text.encode() for name, text in facts.items()}
        write_tar(folder / f"{number}.tar", {**part, **texts})


def pack_as_structs(folder: Path, files: Mapping[str, bytes], targets: Facts) -> None:
    """As Hugging Face has it, and with fake as class 0."""
    for number, part in enumerate(halve(files)):
        numbers = [{"1": 0, "0": 1}.get(targets[name]) for name in part]
        path, contents = folder / f"{number}.parquet", [*part.values()]
        columns = {"target": numbers}
        write_image_table(path, contents, columns, [*part], class_names=["fake", "real"])


def pack_as_binaries(folder: Path, files: Mapping[str, bytes], targets: Facts) -> None:
    for number, part in enumerate(halve(files)):
        columns = {"target": [targets[name] for name in part], "file_name": [*part]}
        write_image_table(folder / f"{number}.parquet", [*part.values()], columns)


Pack = Callable[[Path, Mapping[str, bytes], Facts], None]


def pack_all(data: Path, pack: Pack) -> dict[str, Any]:
    """Shards of all roles beside the folders, and settings that read them."""
    settings = {}
    for role in ROLES:
        files = read_folder(data / f"{role}set")
        pack(data / "shards" / role, files, read_targets(data, role))
        labels = LISTS[role] if pack is pack_with_list else None
        settings[role] = {"labels": labels, "images": f"shards/{role}"}
    return settings


@pytest.fixture
def in_folders(data: Path, tmp_path: Path) -> dict[Role, Manifest]:
    (data / "trainset/train04.png").write_bytes((data / "valset/val00.png").read_bytes())
    prepare(data, tmp_path / "folders", {})
    return read_all(tmp_path / "folders")


@pytest.mark.parametrize(
    "pack",
    [pack_with_list, pack_with_classes, pack_with_json, pack_as_structs, pack_as_binaries],
    ids=lambda pack: pack.__name__,
)
def test_rows_are_those_of_folders_but_for_their_paths(
    data: Path, tmp_path: Path, in_folders: dict[Role, Manifest], pack: Pack
) -> None:
    params = prepare(data, tmp_path / "out", pack_all(data, pack))
    for role, found in read_all(tmp_path / "out").items():
        columns = [name for name in found.table if name != "path"]
        pd.testing.assert_frame_equal(found.table[columns], in_folders[role].table[columns])
        for name, path in zip(found.table["img_name"], found.table["path"], strict=True):
            assert parse_member(path).name == name
    assert len(found) == 4
    verify_data(params, tmp_path / "out")


@pytest.mark.parametrize("pack", [pack_with_classes, pack_as_structs])
def test_pixels_are_the_same_decoded_at_each_use(
    data: Path, tmp_path: Path, in_folders: dict[Role, Manifest], pack: Pack
) -> None:
    settings = pack_all(data, pack)
    params = prepare(data, tmp_path / "out", settings, store="none", store_dir=str(tmp_path / "s"))
    train = read_manifest(tmp_path / "out", "train")
    rows = train.table["row_id"].to_numpy()
    pixels = open_store(train, data, params.images).gather(rows)
    wanted = open_store(in_folders["train"], data, prepare_params(data).images).gather(rows)
    np.testing.assert_array_equal(pixels, wanted)


def test_a_second_run_reads_no_picture_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pack in (pack_with_classes, pack_as_structs):
        settings = pack_all(data, pack)
        settings = {
            role: {
                **own,
                "images": f"{own['images']}/*.{'tar' if pack is pack_with_classes else 'parquet'}",
            }
            for role, own in settings.items()
        }
        prepare(data, tmp_path / "out", settings)
        with monkeypatch.context() as patch:
            patch.setattr(scanning, "read_inside", lambda *_: pytest.fail("read again"))
            prepare(data, tmp_path / "out", settings)


def test_columns_of_lists_are_fields_of_samples(data: Path, tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for i, content in enumerate(read_folder(data / "trainset").values()):
        facts = {"label": bool(i % 2), "w": 2.0, "photo": i // 4, "made_by": ["", "splice"][i % 2]}
        members |= {f"{i:02d}.png": content, f"{i:02d}.json": json.dumps(facts).encode()}
    write_tar(data / "train.tar", members)
    settings = {
        "train": {"labels": None, "images": "train.tar"},
        "columns": {"target": "label", "weight": "w", "generator": "made_by"},
        "classes": {"real": ["False"], "fake": ["True"]},
        "group_columns": ["photo"],
        "val": None,
        "test": None,
    }
    params = prepare_params(
        data, data=settings, split={"hold_out": {"made_by": ["splice"]}, "val_fraction": 0.3}
    )
    with pytest.raises(ManifestError, match="0 fakes were carved out of train"):
        run(params, tmp_path / "out")
    run(prepare_params(data, data=settings, split={"val_fraction": 0.3}), tmp_path / "out")
    tables = [read_manifest(tmp_path / "out", role).table for role in ("train", "val")]
    rows = pd.concat(tables).sort_values("img_name")
    assert rows["label"].tolist() == [0, 1] * 10
    assert set(rows["weight"]) == {2.0}
    assert rows["generator"].tolist() == ["", "splice"] * 10
    assert rows.groupby(rows["img_name"].str[:2].astype(int) // 4)["fold"].nunique().max() == 1


def test_names_that_stand_in_several_shards_begin_with_theirs(data: Path, tmp_path: Path) -> None:
    for number, part in enumerate(halve(read_folder(data / "testset"))):
        contents = dict(zip(("a.png", "b.png"), part.values(), strict=True))
        write_tar(data / f"shards/{number}.tar", contents)
    prepare(data, tmp_path / "out", {"test": {"labels": None, "images": "shards"}})
    names = read_manifest(tmp_path / "out", "test").table["img_name"]
    assert names.tolist() == ["0.tar/a.png", "0.tar/b.png", "1.tar/a.png", "1.tar/b.png"]


def test_a_table_without_plain_names_has_numbers(data: Path, tmp_path: Path) -> None:
    contents = [*read_folder(data / "testset").values()]
    write_image_table(data / "t/x.parquet", contents, {}, ["/home/me/a.png"] * 4)
    prepare(data, tmp_path / "out", {"test": {"labels": None, "images": "t/x.parquet"}})
    table = read_manifest(tmp_path / "out", "test").table
    assert table["img_name"].tolist() == ["0", "1", "2", "3"]
    assert table["path"].iloc[3] == "t/x.parquet#row=1,0&member=3"


def test_broken_pictures_are_quarantined_by_their_names(data: Path, tmp_path: Path) -> None:
    files = {**read_folder(data / "testset"), "broken.png": b"no picture", "empty.png": b""}
    write_tar(data / "test.tar", files)
    write_table(data / "names.csv", ["img_name"], [[name] for name in [*files, "lost.png"]])
    prepare(data, tmp_path / "out", {"test": {"labels": "names.csv", "images": "test.tar"}})
    listed = pd.read_csv(tmp_path / "out/quarantine.csv").set_index("img_name")
    assert listed["status"].str[:4].to_dict() == {
        "broken.png": "none", "empty.png": "empt", "lost.png": "miss"
    }  # fmt: skip
    assert "test.tar#at=" in listed["path"]["broken.png"]


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_shard_that_was_replaced_is_told(data: Path, tmp_path: Path, kind: str) -> None:
    pack: Pack = pack_with_classes if kind == "tar" else pack_as_structs
    settings = pack_all(data, pack)
    params = prepare(data, tmp_path / "out", settings, store="none", store_dir=str(tmp_path / "s"))
    train = read_manifest(tmp_path / "out", "train")
    files = read_folder(data / "trainset")
    others = {name: encode(draw_noise(i + 5000)) for i, name in enumerate(files)}
    pack(data / "shards/train", others, read_targets(data, "train"))
    with pytest.raises(ManifestError, match=r"shards/train/0\..*&member=train00.png"):
        open_store(train, data, params.images).gather(train.table["row_id"].to_numpy()[:1])
    with pytest.raises(ManifestError, match="20 problems"):
        verify_data(params, tmp_path / "out")
    for path in (data / "shards/train").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises((StaleArtifactError, ManifestError)):
        open_store(train, data, params.images).gather(train.table["row_id"].to_numpy())


def test_parts_of_pictures_and_videos_are_read_out_of_shards(tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "clip.mp4", draw_frames(0, 6))
    (tmp_path / "a.png").write_bytes(encode(draw_noise(0, 32, 32)))
    files = {name: (tmp_path / name).read_bytes() for name in ("a.png", "clip.mp4")}
    write_tar(tmp_path / "x.tar", files)
    with tarfile.open(tmp_path / "x.tar") as archive:
        places = {m.name: f"{m.offset_data},{m.size}" for m in archive.getmembers()}
    for name, part in {"a.png": "#xywh=1,2,20,20", "clip.mp4": "#t=0.12", "": ""}.items():
        if name:
            address = f"x.tar#at={places[name]}&member={name}{part}"
            found = read_content(tmp_path, address)
            assert found == read_content(tmp_path, name + part)


def test_videos_in_shards_are_rows_of_frames(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "clip.mp4", draw_frames(0, 6))
    write_tar(data / "test.tar", {"clip.mp4": (tmp_path / "clip.mp4").read_bytes()})
    settings = {"test": {"labels": None, "images": "test.tar"}, "video_frames": 2}
    prepare(data, tmp_path / "out", settings)
    test = read_manifest(tmp_path / "out", "test").table
    assert test["img_name"].tolist() == ["clip.mp4#t=0.04", "clip.mp4#t=0.16"]
    assert set(test["status"]) == {"ok"}
    assert read_content(data, test["path"][1], ANYWHERE).sha256 == test["sha256"][1]


def test_shards_are_read_from_their_start_to_their_end() -> None:
    paths = [
        "b.tar#at=900,5&member=a.png", "b.tar#at=100,5&member=z.mp4#t=1",
        "b.tar#at=100,5&member=z.mp4#t=2", "x.png", "a.parquet#row=1,0&member=0",
        "a.parquet#row=0,7&member=1",
    ]  # fmt: skip
    assert order_reads(paths).tolist() == [3, 1, 2, 0, 5, 4]
