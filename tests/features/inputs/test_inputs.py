"""Stage `inputs`: all settings and all files are looked at before any work."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_data import SETTINGS, draw_noise, encode, write_data

from features.core.files import digest_file
from features.core.manifest import ROLES
from features.errors import ConfigError, ManifestError
from features.inputs import contents, pictures
from features.inputs.__main__ import main
from features.inputs.contents import KnownContents, keep_contents
from features.inputs.pictures import describe_pictures, find_change
from features.inputs.run import describe_inputs, run
from features.settings.data import Data


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> dict[str, Any]:
    values = yaml.safe_load(SETTINGS)
    images = {**values.get("images", {}), "store_dir": str(tmp_path / "store")}
    return {**values, "data": {"root": str(data)}, "images": images}


def test_place_size_and_digest_of_each_label_file_are_noted(
    settings: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    run(settings, tmp_path / "inputs.json")
    facts = json.loads((tmp_path / "inputs.json").read_text())
    assert facts["root"] == str(data)
    names = {
        "train": "trainset_label.txt",
        "val": "valset_label.txt",
        "test": "testset_nolabel.txt",
    }
    for role, name in names.items():
        path = data / name
        size = path.stat().st_size
        assert facts[role].pop("pictures")["files"] == len(list((data / f"{role}set").iterdir()))
        assert facts[role] == {"labels": name, "bytes": size, "sha256": digest_file(path)}


def test_one_changed_byte_changes_one_digest(data: Path) -> None:
    before = describe_inputs(Data(root=str(data)), KnownContents({}))
    path = data / "valset_label.txt"
    path.write_text(path.read_text().replace("val00.png,0", "val00.png,1"))
    after = describe_inputs(Data(root=str(data)), KnownContents({}))
    assert [role for role in before if before[role] != after[role]] == ["val"]


OTHERS = "other pictures of the same names"


def write_at_another_time(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))


def replace_by_one_of_its_size(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    time = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(0, time + 1_000_000))


@pytest.mark.fault(
    "a picture replaced by another one of its name since `prepare` ran",
    "`dvc repro` says so and runs `prepare` again; where pictures are decoded at each use, an"
    " error",
    "Pictures",
)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: path.unlink(), "19 pictures instead of 20"),
        (lambda path: path.rename(path.with_name("other.png")), "pictures of other names"),
        (
            lambda path: path.write_bytes(encode(draw_noise(77, 9, 9))),
            "other pictures of the same names",
        ),
        (replace_by_one_of_its_size, "other pictures of the same names"),
        (write_at_another_time, ""),
        (lambda path: path.with_name(".hidden").touch(), ""),
    ],
    ids=["missing", "renamed", "replaced", "same size", "other time", "hidden"],
)
def test_other_pictures_are_noticed_and_told(
    settings: dict[str, Any],
    data: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "inputs.json"
    with caplog.at_level("INFO", "forgerystack"):
        run(settings, out)
        run(settings, out)
        before = out.read_bytes()
        assert not caplog.messages
        change(data / "trainset" / "train00.png")
        run(settings, out)
    lines = [f"inputs: data.train has {told}: prepare runs again"] if told else []
    assert caplog.messages == lines
    assert (out.read_bytes() != before) == bool(told)


def test_a_data_set_unpacked_again_is_the_same(
    settings: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "inputs.json"
    run(settings, out)
    before = out.read_bytes()
    shutil.rmtree(tmp_path / "store")
    for path in data.rglob("*"):
        os.utime(path, (0, 0))
    run(settings, out)
    assert out.read_bytes() == before


def test_only_what_was_written_since_is_read(
    settings: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, tmp_path / "inputs.json")
    read: list[str] = []

    def digest(path: Path) -> str:
        read.append(path.name)
        return digest_file(path)

    monkeypatch.setattr(contents, "digest_file", digest)
    write_at_another_time(data / "valset" / "val00.png")
    run(settings, tmp_path / "inputs.json")
    assert read == ["val00.png"]
    (tmp_path / "store" / "contents.json").write_text("[1")
    run(settings, tmp_path / "inputs.json")
    assert len(read) == 1 + sum(len(list((data / f"{r}set").iterdir())) for r in ROLES)


@pytest.mark.fault("a link that leads out of the data")
def test_what_a_link_out_of_the_data_leads_to_is_not_opened(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(contents, "digest_file", lambda path: read.append(path.name) or "x")
    (tmp_path / "outside.png").write_bytes(b"x")
    (data / "pool.png").write_bytes(b"x")
    for name, target in (("a.png", tmp_path / "outside.png"), ("b.png", data / "pool.png")):
        (data / "links").mkdir(exist_ok=True)
        (data / "links" / name).symlink_to(target)
    found = describe_pictures(data, "links", (), KnownContents({}))
    assert (found["files"], read) == (2, ["b.png"])
    describe_pictures(data, "links", (str(tmp_path),), KnownContents({}))
    assert sorted(read) == ["a.png", "b.png", "b.png"]


def test_what_was_read_before_a_stop_is_kept(tmp_path: Path) -> None:
    kept, names = tmp_path / "contents.json", [str(tmp_path / name) for name in "ab"]
    for name in names:
        Path(name).write_bytes(b"x")
    with keep_contents(kept) as known:
        known.digest(names[:1])
    with suppress(KeyboardInterrupt), keep_contents(kept) as known:
        known.digest(names[1:])
        raise KeyboardInterrupt
    assert list(json.loads(kept.read_text())) == names


def test_what_is_no_file_and_names_that_are_no_utf8_are_described(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.png", "wb"):
        pass
    (tmp_path / "nowhere.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    found = []
    for _ in range(2):
        with keep_contents(tmp_path / "store" / "contents.json") as known:
            found.append(known.digest(sorted(map(str, tmp_path.glob("*.png")))))
    assert found[0] == found[1]
    assert sorted(map(bool, found[0])) == [False, False, True]


def test_of_very_many_pictures_a_sample_is_compared(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "ALL", 5)
    monkeypatch.setattr(pictures, "SAMPLED", 4)
    folder = data / "trainset"
    before = describe_pictures(data, "trainset", (), KnownContents({}))
    noticed = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        replace_by_one_of_its_size(path)
        after = describe_pictures(data, "trainset", (), KnownContents({}))
        noticed.append(find_change(before, after))
        path.write_bytes(content)
    assert sorted(noticed) == [""] * 16 + [OTHERS] * 4
    (folder / "train00.png").rename(folder / "other.png")
    after = describe_pictures(data, "trainset", (), KnownContents({}))
    assert find_change(before, after) == "pictures of other names"


def test_a_role_that_is_null_is_left_out(data: Path) -> None:
    (data / "testset_nolabel.txt").unlink()
    facts = describe_inputs(Data(root=str(data), test=None, val=None), KnownContents({}))
    assert list(facts) == ["root", "train"]


def test_every_missing_file_and_folder_is_told(data: Path, tmp_path: Path) -> None:
    (data / "trainset_label.txt").unlink()
    (data / "valset_label.txt").rename(tmp_path / "elsewhere.txt")
    (data / "testset").rename(tmp_path / "testset")
    with pytest.raises(ManifestError, match="set to null") as caught:
        describe_inputs(Data(root=str(data)), KnownContents({}))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "data.train.labels",
        "data.val.labels",
        "data.test.images",
    ]


def test_of_class_folders_count_and_digest_are_noted(data: Path) -> None:
    folders = Data(root=str(data), train={"labels": None, "images": "trainset"})
    before = describe_inputs(folders, KnownContents({}))
    assert before["train"]["images"] == "trainset"
    assert before["train"]["pictures"]["files"] == 20
    assert before["val"]["labels"] == "valset_label.txt"
    (data / "trainset" / "train00.png").rename(data / "trainset" / "other.png")
    after = describe_inputs(folders, KnownContents({}))
    assert [role for role in before if before[role] != after[role]] == ["train"]


def test_a_missing_class_folder_is_told_with_the_other_problems(data: Path, tmp_path: Path) -> None:
    (data / "trainset").rename(tmp_path / "elsewhere")
    (data / "valset_label.txt").unlink()
    with pytest.raises(ManifestError) as caught:
        describe_inputs(
            Data(root=str(data), train={"labels": None, "images": "trainset"}), KnownContents({})
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "data.train.images",
        "data.val.labels",
    ]


def test_nothing_is_written_for_settings_that_are_wrong(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["stack"] = {"roundz": 1}
    with pytest.raises(ConfigError, match=r"stack\.roundz: unknown"):
        run(settings, tmp_path / "inputs.json")
    assert not (tmp_path / "inputs.json").exists()


def test_params_yaml_and_overrides_are_read_in_the_folder_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(SETTINGS)
    write_data(Path("here"))
    main(["data.root=here", "data.test=null"])
    assert list(json.loads(Path("artifacts/inputs.json").read_text())) == ["root", "train", "val"]
