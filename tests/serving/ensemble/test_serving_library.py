"""The library: the labels of the project, from paths, bytes, arrays and images, in many threads."""

import doctest
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from features.errors import PictureError
from serving import Ensemble
from serving.ensemble import ensemble as module


@pytest.fixture(scope="module")
def labels(project: Path) -> pd.DataFrame:
    return pd.read_csv(project / "artifacts/labels.csv", dtype={"img_name": str})


def test_every_picture_is_labelled_as_its_project_labels_it(
    ensemble: Ensemble, pictures: list[Path], labels: pd.DataFrame
) -> None:
    rows = ensemble.label(pictures)
    assert [Path(row.name).name for row in rows] == list(labels["img_name"])
    np.testing.assert_allclose([row.score for row in rows], labels["score"], atol=2.5e-6, rtol=0)
    np.testing.assert_allclose([row.log_odds for row in rows], labels["log_odds"], atol=1e-5)
    assert [row.label for row in rows] == list(labels["label"])
    assert {row.status for row in rows} == {"ok"}
    assert rows[0].members == {}


def test_another_share_of_fakes_moves_probabilities_and_no_label(
    bundle: Path, ensemble: Ensemble, pictures: list[Path]
) -> None:
    rare = Ensemble.load(bundle, prior=0.01)
    before, after = ensemble.label(pictures), rare.label(pictures)
    assert [row.label for row in after] == [row.label for row in before]
    moved = np.array([row.log_odds for row in after]) - [row.log_odds for row in before]
    own = ensemble.scorer.second_stage.rules.prior.value
    np.testing.assert_allclose(moved, np.log(0.01 / 0.99) - np.log(own / (1 - own)), atol=1e-9)


def test_a_picture_may_be_a_path_a_files_content_pixels_or_pillows(
    ensemble: Ensemble, pictures: list[Path]
) -> None:
    path = pictures[0]
    with Image.open(path) as image:
        image.load()
        pixels = np.asarray(image.convert("RGB"))
    rows = ensemble.label([path, str(path), path.read_bytes(), pixels, image])
    assert {row.score for row in rows} == {rows[0].score}
    assert [row.name for row in rows] == [str(path), str(path), "2", "3", "4"]


def test_grey_pixels_are_three_times_the_same(ensemble: Ensemble) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8)
    one, three = ensemble.label([grey, np.stack([grey] * 3, axis=2)])
    assert one.score == three.score


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((8, 8, 3)), "uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"\(height, width, 3\)"),
        (7, "no picture: int"),
    ],
)
def test_what_is_no_picture_is_refused(ensemble: Ensemble, picture: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ensemble.label([picture])  # type: ignore[list-item]


def test_probabilities_are_those_of_scikit_learn(ensemble: Ensemble, pictures: list[Path]) -> None:
    found = ensemble.predict_proba(pictures)
    assert found.shape == (len(pictures), 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found[:, 1].tolist() == [row.score for row in ensemble.label(pictures)]
    assert ensemble.predict_proba([]).shape == (0, 2)


def test_a_file_that_cannot_be_read_keeps_its_row_but_has_no_probability(
    ensemble: Ensemble, pictures: list[Path], tmp_path: Path
) -> None:
    (broken := tmp_path / "broken.jpg").write_bytes(pictures[0].read_bytes()[:300])
    good, bad, missing = ensemble.label([pictures[0], broken, tmp_path / "none.png"], True)
    assert good.is_readable
    assert bad.status.startswith("does not decode")
    assert missing.status == "missing"
    assert bad.score == pytest.approx(ensemble.scorer.second_stage.rules.prior.value)
    assert np.isnan(list(bad.members.values())).all()
    with pytest.raises(PictureError, match="2 problems") as error:
        ensemble.predict_proba([pictures[0], broken, tmp_path / "none.png"])
    assert "none.png: missing" in str(error.value)


def test_members_are_told_where_they_are_asked_for(
    ensemble: Ensemble, pictures: list[Path]
) -> None:
    rows = ensemble.label(pictures, with_members=True)
    assert {tuple(row.members) for row in rows} == {("noise-0", "small-0")}
    assert len({row.members["noise-0"] for row in rows}) > 1
    assert [row.score for row in rows] == [row.score for row in ensemble.label(pictures)]


def test_eight_threads_may_ask_at_once(bundle: Path, pictures: list[Path]) -> None:
    """Of an ensemble whose networks are not loaded yet."""
    ensemble = Ensemble.load(bundle)
    alone = [row.score for row in Ensemble.load(bundle).label(pictures)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ensemble.label(pictures), range(16)))
    for rows in found:
        np.testing.assert_allclose([row.score for row in rows], alone, atol=1e-9)


def test_another_process_may_be_given_an_ensemble(
    bundle: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.parent)
    ensemble = Ensemble.load(bundle.name, prior=0.01)
    content, wanted = pickle.dumps(ensemble), ensemble.label(pictures[:3])
    monkeypatch.chdir(tmp_path)
    assert len(content) < 1000
    assert pickle.loads(content).label(pictures[:3]) == wanted


def test_the_examples_of_the_docstring_hold(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bundle, tmp_path / "ensemble")
    sample = next((bundle / "samples").iterdir())
    (tmp_path / "samples").mkdir()
    shutil.copy(sample, tmp_path / "samples" / "0.png")
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module)
    assert found.attempted == 4
    assert not found.failed
