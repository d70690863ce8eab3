"""The same picture in several rows: found through saving and resizing, and kept out of leaks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_data import encode, prepare_params, write_table
from PIL import Image, ImageEnhance, ImageFilter
from skimage import data as photos

from features.core.manifest import read_manifest
from features.errors import ManifestError
from features.prepare.run import run
from features.prepare.same_pictures import find_leaks, find_same_pictures

Row = tuple[str, int, Image.Image, dict[str, Any]]


def cut_photo(number: int) -> Image.Image:
    """Different places of a photograph: different pictures."""
    y, x = 40 * (number // 9), 45 * (number % 9)
    return Image.fromarray(photos.astronaut()[y : y + 120, x : x + 120])


def retouch(image: Image.Image) -> Image.Image:
    """A small forgery: a patch of it is smoothed."""
    forged = image.copy()
    forged.paste(image.crop((50, 50, 80, 80)).filter(ImageFilter.GaussianBlur(2)), (50, 50))
    return forged


def write(root: Path, roles: dict[str, Sequence[Row]]) -> Path:
    """Pictures saved as JPEG with the given options, and their lists."""
    for role, rows in roles.items():
        folder = root / f"{role}set"
        folder.mkdir(parents=True)
        for name, _, image, options in rows:
            (folder / name).write_bytes(encode(image, "JPEG", **options))
        named = [[name, target][: 1 if role == "test" else 2] for name, target, *_ in rows]
        suffix = "nolabel" if role == "test" else "label"
        header = ["img_name", "target"][: 1 if role == "test" else 2]
        write_table(root / f"{role}set_{suffix}.txt", header, named)
    return root


def fill(prefix: str, first: int, count: int) -> list[Row]:
    return [(f"{prefix}{i}.jpg", i % 2, cut_photo(first + i), {}) for i in range(count)]


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Train holds pictures of val (again saved, smaller, brighter, forged) and one of test."""
    brighter = ImageEnhance.Brightness(cut_photo(21)).enhance(1.04)
    train = [
        *fill("t", 0, 20),
        ("again.jpg", 0, cut_photo(20), {"quality": 60}),
        ("small.jpg", 0, cut_photo(20).resize((80, 80)), {}),
        ("bright.jpg", 1, brighter, {}),
        ("forged.jpg", 1, retouch(cut_photo(22)), {}),
        ("tested.jpg", 0, cut_photo(28), {"quality": 70}),
        ("twin.jpg", 0, cut_photo(0), {"quality": 50}),
    ]
    val = fill("v", 20, 8)
    test = [("x0.jpg", 0, cut_photo(28), {}), ("x1.jpg", 0, cut_photo(29), {})]
    return write(tmp_path / "data", {"train": train, "val": val, "test": test})


def prepare(root: Path, **split: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The train rows and the listed pairs."""
    out = root.parent / "out"
    run(prepare_params(root, split=split, images={"size": 64}), out)
    return read_manifest(out, "train").table, pd.read_csv(out / "duplicates.csv")


LEAKS = {"again.jpg", "small.jpg", "bright.jpg", "forged.jpg"}


@pytest.mark.fault(
    "the same picture in train and val",
    "dropped from train, reported or an error, as asked for",
    "Label files",
)
def test_train_pictures_that_val_shows_are_dropped_from_train(leaky: Path) -> None:
    train, pairs = prepare(leaky)
    assert not LEAKS & set(train["img_name"])
    assert len(train) == 22
    dropped = pairs[pairs["action"] == "dropped from train"]
    names = {*dropped["first"], *dropped["second"][dropped["second_role"] == "train"]}
    assert names == {f"trainset/{name}" for name in LEAKS}
    val = read_manifest(leaky.parent / "out", "val").table
    assert val["img_name"].tolist() == [f"v{i}.jpg" for i in range(8)]


def test_a_picture_of_test_is_reported_and_stays_in_train(leaky: Path) -> None:
    train, pairs = prepare(leaky)
    assert "tested.jpg" in set(train["img_name"])
    told = pairs[pairs["second_role"] == "test"]
    assert told[["first", "second", "action"]].values.tolist() == [
        ["trainset/tested.jpg", "testset/x0.jpg", "reported"]
    ]


def blend(one: int, other: int, share: float) -> Image.Image:
    """A picture with some of another in it."""
    base, added = (np.asarray(cut_photo(i)).astype(float) for i in (one, other))
    return Image.fromarray(np.clip(base + share * (added - 128), 0, 255).astype(np.uint8))


def test_a_test_list_changes_nothing_that_is_learnt(tmp_path: Path) -> None:
    """Though its pictures lie between others that are too far apart to be the same one."""
    lone, chain, twins = ({s: blend(i, 30, s) for s in (-0.06, 0.0, 0.06)} for i in (72, 75, 64))
    train = [
        *fill("t", 0, 20),
        ("leak.jpg", 1, lone[-0.06], {}),
        *((f"chain{i}.jpg", i, chain[s], {}) for i, s in enumerate((-0.06, 0.06))),
        *((f"twin{i}.jpg", 0, twins[0.0], {"quality": 75 - 20 * i}) for i in range(2)),
    ]
    val = [*fill("v", 40, 8), ("shown.jpg", 1, lone[0.06], {})]
    between = [("lone.jpg", 0, lone[0.0], {}), ("chain.jpg", 0, chain[0.0], {})]
    test = [*between, ("twin.jpg", 0, twins[0.0], {}), ("new.jpg", 0, cut_photo(36), {})]
    root = write(tmp_path / "data", {"train": train, "val": val, "test": test})
    told = {}
    for name, more in (("with", {}), ("without", {"test": None})):
        run(prepare_params(root, data=more, images={"size": 64}), tmp_path / name)
        told[name] = pd.read_csv(tmp_path / name / "duplicates.csv")
    for role in ("train", "val"):
        with_test, without = (tmp_path / n / f"{role}.parquet" for n in ("with", "without"))
        assert with_test.read_bytes() == without.read_bytes()
    is_test = told["with"]["second_role"] == "test"
    assert told["with"][~is_test].values.tolist() == told["without"].values.tolist()
    assert set(told["with"]["action"][is_test]) == {"reported"}
    pairs = told["with"].loc[is_test, ["first", "second"]].map(lambda path: Path(path).stem)
    assert {*pairs.itertuples(index=False, name=None)} >= {
        ("leak", "lone"), ("shown", "lone"), ("chain0", "chain"), ("chain1", "chain"),
        ("twin0", "twin"),
    }  # fmt: skip


def test_the_policy_report_drops_nothing(leaky: Path) -> None:
    train, pairs = prepare(leaky, cross_role_duplicates="report")
    assert set(train["img_name"]) >= LEAKS
    assert (pairs["action"] == "reported").sum() == 4


@pytest.mark.fault("the same picture in train and val")
def test_the_policy_error_names_the_pairs_and_writes_no_manifest(leaky: Path) -> None:
    with pytest.raises(ManifestError) as error:
        prepare(leaky, cross_role_duplicates="error")
    text = "trainset/forged.jpg (train) and valset/v2.jpg (val): counterpart"
    assert text in str(error.value)
    assert "3 problems" in str(error.value)
    assert not list((leaky.parent / "out").glob("*.parquet"))


def test_near_duplicates_share_a_group_and_a_fold(leaky: Path) -> None:
    train, _ = prepare(leaky)
    rows = train.set_index("img_name")
    assert rows.loc["twin.jpg", "group"] == rows.loc["t0.jpg", "group"]
    assert rows.loc["twin.jpg", "fold"] == rows.loc["t0.jpg", "fold"]
    assert train["group"].nunique() == len(train) - 1


def test_a_fake_beside_the_real_that_it_was_made_from_is_a_counterpart(tmp_path: Path) -> None:
    real = cut_photo(30)
    train = [*fill("t", 0, 20), ("r.jpg", 0, real, {}), ("f.jpg", 1, retouch(real), {})]
    root = write(tmp_path / "data", {"train": train, "val": fill("v", 40, 4), "test": []})
    found, pairs = prepare(root)
    assert pairs["kind"].tolist() == ["counterpart"]
    assert pairs["action"].tolist() == ["grouped"]
    rows = found.set_index("img_name")
    assert rows.loc["r.jpg", "group"] == rows.loc["f.jpg", "group"]
    assert "counterpart" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.fault(
    "the same file under both labels and two names",
    "quarantine of both",
    "Label files",
)
def test_one_file_under_both_labels_is_quarantined(tmp_path: Path) -> None:
    train = [*fill("t", 0, 20), ("a.jpg", 0, cut_photo(30), {}), ("b.jpg", 1, cut_photo(30), {})]
    root = write(tmp_path / "data", {"train": train, "val": fill("v", 40, 4), "test": []})
    params = prepare_params(root, data={"max_bad_fraction": 0.1})
    run(params, tmp_path / "out")
    listed = pd.read_csv(tmp_path / "out" / "quarantine.csv")
    assert listed["img_name"].tolist() == ["a.jpg", "b.jpg"]
    assert set(listed["status"]) == {"the same file stands under both labels"}
    assert len(read_manifest(tmp_path / "out", "train")) == 20


def test_the_real_of_a_held_out_fake_stays_in_train_and_its_double_does_not(tmp_path: Path) -> None:
    real = cut_photo(30)
    train = [
        *fill("t", 0, 20),
        ("real.jpg", 0, real, {}),
        ("gan.jpg", 1, retouch(real), {}),
        ("double.jpg", 1, retouch(real), {"quality": 60}),
    ]
    root = write(tmp_path / "data", {"train": train, "val": fill("v", 40, 4), "test": []})
    rows = [[name, target, "gan" if name == "gan.jpg" else ""] for name, target, *_ in train]
    write_table(root / "trainset_label.txt", ["img_name", "target", "generator"], rows)
    val = [[f"v{i}.jpg", i % 2, ""] for i in range(4)]
    write_table(root / "valset_label.txt", ["img_name", "target", "generator"], val)
    params = prepare_params(
        root,
        data={"columns": {"generator": "generator"}},
        split={"hold_out": {"generator": "gan"}},
        images={"size": 64},
    )
    run(params, tmp_path / "out")
    names = set(read_manifest(tmp_path / "out", "train").table["img_name"])
    assert "real.jpg" in names
    assert not {"gan.jpg", "double.jpg"} & names
    found = read_manifest(tmp_path / "out", "val").table
    assert found["img_name"][found["domain"] == "held_out"].tolist() == ["gan.jpg"]


def test_pictures_of_one_colour_are_the_same_only_as_files(tmp_path: Path) -> None:
    def plain(i: int) -> Image.Image:
        return Image.fromarray(np.full((64, 64, 3), 40 + i, np.uint8))

    train = [*fill("t", 0, 20), *((f"p{i}.jpg", i % 2, plain(i), {}) for i in range(6))]
    train += [("q.jpg", 0, plain(0), {})]
    root = write(tmp_path / "data", {"train": train, "val": fill("v", 40, 4), "test": []})
    found, pairs = prepare(root)
    assert pairs[["first", "second", "kind"]].values.tolist() == [
        ["trainset/p0.jpg", "trainset/q.jpg", "exact"]
    ]
    assert found["group"].nunique() == len(found) - 1


def test_a_video_joins_what_its_frames_show_and_is_no_finding_itself() -> None:
    """Each is eight bits from the next one: at most fifteen make two of them the same picture."""
    paths = ["a.png", "b.mp4#t=0", "b.mp4#t=1", "c.png", "d.png"]
    shown = np.random.default_rng(0).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    bits = np.arange(256) < 8 * np.arange(5)[:, None]
    rows = pd.DataFrame(
        {
            "role": ["train", "train", "train", "val", "train"],
            "path": paths,
            "status": "ok",
            "sha256": paths,
            "hash": [content.tobytes() for content in np.packbits(bits, axis=1)],
            "corrected": 1,
            "domain": "",
        }
    )
    same = find_same_pictures(rows, shown[[0, 0, 0, 0, 1]])
    assert find_leaks(rows, same.pictures).tolist() == [True, True, True, False, False]
    assert same.pairs[["first", "second"]].values.tolist() == [[0, 1], [2, 3]]
