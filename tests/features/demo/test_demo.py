"""Stage `demo`: the layout it promises, and that nothing but the forgery tells a fake."""

import hashlib
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from features.demo.forgeries import GENERATORS, UNSEEN
from features.demo.images import plan_images
from features.demo.photos import PHOTOS, list_tiles, read_photo, read_tile
from features.demo.run import run
from features.settings.demo import DemoParams

COUNTS = {"train": 800, "val": 400, "test": 30}
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
TINY = {"train": 60, "val": 24, "test": 12}


def make_demo(folder: Path, jobs: int = 2, **section: int) -> Path:
    run(DemoParams.model_validate({"data": {"root": "data/demo"}, "demo": section}), folder, jobs)
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("demo") / "demo", **COUNTS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.mktemp("tiny") / "demo", **TINY)


def read_labels(folder: Path, role: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{role}set_label.txt", keep_default_na=False)


def digest_folder(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def read_file_facts(folder: Path, role: str) -> np.ndarray:
    """What can be known of a file without looking at the picture."""
    facts = []
    for name in read_labels(folder, role).img_name:
        path = folder / f"{role}set" / name
        with Image.open(path) as image:
            width, height = image.size
            tables = [sum(table) for table in image.quantization.values()]
        size = path.stat().st_size
        stem = path.stem
        shape = [len(stem), sum(c.isdigit() for c in stem), int(stem[:8], 16)]
        facts.append([width, height, size, size / (width * height), *tables, *shape])
    return np.array(facts)


def photos_of(labels: pd.DataFrame) -> set[str]:
    return set(labels.source)


def test_layout_is_the_reference_layout(demo: Path) -> None:
    assert sorted(os.listdir(demo)) == [
        "testset",
        "testset_nolabel.txt",
        "trainset",
        "trainset_label.txt",
        "valset",
        "valset_label.txt",
    ]
    for role in ("train", "val"):
        labels = read_labels(demo, role)
        assert list(labels.columns) == ["img_name", "target", "tile", "source", "generator"]
        assert sorted(labels.img_name) == sorted(os.listdir(demo / f"{role}set"))
        assert len(labels) == labels.img_name.nunique() == COUNTS[role]
        assert ((labels.generator == "") == (labels.target == 0)).all()
    lines = (demo / "testset_nolabel.txt").read_text().splitlines()
    assert lines[0] == "img_name"
    assert sorted(lines[1:]) == sorted(os.listdir(demo / "testset"))


@pytest.mark.parametrize(("role", "ratio"), [("train", 4.3), ("val", 1.5)])
def test_classes_are_imbalanced_as_in_the_reference(demo: Path, role: str, ratio: float) -> None:
    target = read_labels(demo, role).target
    assert (target == 1).sum() / (target == 0).sum() == pytest.approx(ratio, rel=0.02)


def test_one_generator_waits_for_val(demo: Path) -> None:
    train, val = (set(read_labels(demo, role).generator) - {""} for role in ("train", "val"))
    assert val == set(GENERATORS)
    assert val - train == {UNSEEN}


def test_no_photograph_is_in_two_roles(demo: Path) -> None:
    train, val = (photos_of(read_labels(demo, role)) for role in ("train", "val"))
    assert (train, val) == (set(PHOTOS["train"]), set(PHOTOS["val"]))
    names = [photo for role in PHOTOS.values() for photo in role]
    files = [file for role in PHOTOS.values() for file in role.values()]
    assert len(names) == len(set(names)) == len(set(files)) == 15


def test_tiles_of_a_photograph_share_no_pixel() -> None:
    tiles = list_tiles("train", "astronaut")
    assert len(tiles) == 9
    views = [read_tile(tile) for tile in tiles]
    assert all(np.shares_memory(view, read_photo("train", "astronaut")) for view in views)
    for i, view in enumerate(views):
        assert not any(np.shares_memory(view, other) for other in views[i + 1 :])


def test_files_have_one_size_and_one_quality(demo: Path) -> None:
    forms = set()
    for path in demo.glob("*set/*.jpg"):
        with Image.open(path) as image:
            tables = tuple(tuple(table) for table in image.quantization.values())
            sampling = tuple(layer[1:3] for layer in image.layer)
            forms.add((image.format, image.mode, image.size, tables, sampling))
    assert len(forms) == 1
    assert forms.pop()[:3] == ("JPEG", "RGB", (96, 96))


def test_file_facts_do_not_tell_fakes(demo: Path) -> None:
    labels = {role: read_labels(demo, role).target for role in ("train", "val")}
    facts = {role: read_file_facts(demo, role) for role in labels}
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=7, class_weight="balanced", random_state=0
    ).fit(facts["train"], labels["train"])
    assert roc_auc_score(labels["val"], model.predict_proba(facts["val"])[:, 1]) <= 0.6
    size = roc_auc_score(labels["val"], facts["val"][:, 2])
    assert max(size, 1 - size) <= 0.6


@pytest.mark.parametrize("part", ["photo", "tile"])
def test_what_a_picture_shows_does_not_tell_fakes(demo: Path, part: str) -> None:
    for role in ("train", "val"):
        labels = read_labels(demo, role)
        shown = labels.tile if part == "tile" else labels.source
        known = pd.get_dummies(shown).to_numpy(float)
        scores = cross_val_predict(
            HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5, random_state=0),
            known,
            labels.target,
            cv=StratifiedKFold(5, shuffle=True, random_state=0),
            method="predict_proba",
        )[:, 1]
        assert roc_auc_score(labels.target, scores) <= 0.55
        # In-sample, so that no wrong-way cross-validation hides a difference.
        rates = labels.target.groupby(shown).mean()
        assert rates.max() - rates.min() < 0.15


def measure_detail(path: Path) -> list[float]:
    """How unevenly fine detail lies over a picture, at four scales: a forged region has its own."""
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"), dtype=float)
    levels = [grey, *(gaussian_filter(grey, sigma) for sigma in (0.7, 1.4, 2.8, 5.6))]
    energies = [
        np.log(((fine - coarse) ** 2).reshape(8, 12, 8, 12).mean(axis=(1, 3)) + 0.1).ravel()
        for fine, coarse in pairwise(levels)
    ]
    maps = [*energies, *(fine - coarse for fine, coarse in pairwise(energies))]
    return [float(q) for each in maps for q in (each.std(), *np.quantile(each, QUANTILES))]


def test_forgeries_leave_a_trace_in_the_pixels(demo: Path) -> None:
    labels = {role: read_labels(demo, role) for role in ("train", "val")}
    detail = {
        role: np.array([measure_detail(demo / f"{role}set" / name) for name in table.img_name])
        for role, table in labels.items()
    }
    model = ExtraTreesClassifier(200, min_samples_leaf=3, class_weight="balanced", random_state=0)
    model.fit(detail["train"], labels["train"].target)
    scores = model.predict_proba(detail["val"])[:, 1]
    assert roc_auc_score(labels["val"].target, scores) >= 0.62


def test_order_tells_nothing(demo: Path) -> None:
    labels = read_labels(demo, "train")
    assert 0.42 < roc_auc_score(labels.target, np.arange(len(labels))) < 0.58
    assert 0.42 < roc_auc_score(labels.target, labels.img_name.rank()) < 0.58


def test_same_seed_same_bytes_whatever_the_processes(tiny: Path, tmp_path: Path) -> None:
    assert digest_folder(make_demo(tmp_path / "again", jobs=1, **TINY)) == digest_folder(tiny)


def test_other_seed_other_bytes(tiny: Path, tmp_path: Path) -> None:
    other = digest_folder(make_demo(tmp_path / "other", seed=1, **TINY))
    assert not set(other.values()) & set(digest_folder(tiny).values())


def test_tiny_demo_has_all_that_a_pipeline_needs(tiny: Path) -> None:
    train, val = (read_labels(tiny, role) for role in ("train", "val"))
    assert photos_of(train) == set(PHOTOS["train"])
    assert photos_of(val) == set(PHOTOS["val"])
    assert (train.groupby("tile").target.nunique() == 2).sum() >= 4
    assert set(train.generator) == set(GENERATORS) - {UNSEEN} | {""}
    assert set(val.generator) == set(GENERATORS) | {""}


def test_other_root_makes_one_line_only(tmp_path: Path) -> None:
    folder = make_demo(tmp_path / "demo", train=24, val=12, test=6)
    run(DemoParams.model_validate({"data": {"root": "data/ffdi"}}), folder)
    assert os.listdir(folder) == ["README.txt"]
    assert (folder / "README.txt").read_text() == "data.root is data/ffdi: no demo made\n"


def test_what_a_killed_run_left_is_replaced(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    for stale in (tmp_path / ".demo.tmp" / "trainset", folder):
        stale.mkdir(parents=True)
        (stale / "stale.jpg").write_bytes(b"")
    assert digest_folder(make_demo(folder, **TINY)) == digest_folder(tiny)
    assert os.listdir(tmp_path) == ["demo"]


@pytest.mark.parametrize("count", [24, 61, 3400])
def test_a_plan_has_exactly_the_images_asked_for(count: int) -> None:
    plan = plan_images("train", count, seed=3)
    assert len({image.name for image in plan}) == count
    assert {image.target for image in plan} == {0, 1}


@pytest.mark.parametrize("section", [{"train": 3}, {"size": 16}, {"seed": -1}, {"trian": 100}])
def test_impossible_sizes_are_refused(section: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        DemoParams.model_validate({"data": {"root": "data/demo"}, "demo": section})
