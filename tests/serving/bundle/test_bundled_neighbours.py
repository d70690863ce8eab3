"""Pictures of train that travel along: which, and with what."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from features.artifacts.dumps import read_dump
from features.core.manifest import Manifest, read_manifest
from features.errors import BundleError
from serving.bundle.neighbours import SIDE, choose_neighbour_rows, measure_usual
from serving.format.neighbours import read_neighbours
from stage2_ensemble.columns.columns import Floats


@pytest.fixture(scope="module")
def train(project: Path) -> Manifest:
    return read_manifest(project / "artifacts/manifest", "train")


def test_half_of_each_class_and_of_rows_that_the_networks_did_not_learn_from(
    train: Manifest,
) -> None:
    rows = choose_neighbour_rows(train, 0, 6)
    assert np.bincount(train.labels[rows]).tolist() == [3, 3]
    train.check_not_learned(rows, 0)
    assert set(rows) < set(choose_neighbour_rows(train, 0, 8))
    for label in (0, 1):
        own = train.groups[rows[train.labels[rows] == label]]
        assert len(np.unique(own)) == len(own)


def test_a_class_with_too_few_is_refused(train: Manifest) -> None:
    with pytest.raises(BundleError, match="1 reals and 1 fakes could travel along"):
        choose_neighbour_rows(train, 0, 3)
    assert len(choose_neighbour_rows(train, 0, 0)) == 0


def test_they_travel_with_name_class_thumbnail_and_the_embeddings_of_one_fold(
    bundle: Path, project: Path, train: Manifest
) -> None:
    found = read_neighbours(bundle)
    names = train.table["img_name"].tolist()
    rows = np.array([names.index(picture.name) for picture in found.facts.pictures])
    assert [picture.label for picture in found.facts.pictures] == [
        ("real", "fake")[label] for label in train.labels[rows]
    ]
    for backbone, embeddings in zip(found.facts.backbones, found.embeddings, strict=True):
        dump = read_dump(project / f"artifacts/dumps/{backbone}/0", train, backbone, 0)
        np.testing.assert_array_equal(
            embeddings, dump.embeddings[np.searchsorted(dump.row_ids, rows)]
        )
    for picture in found.facts.pictures:
        with Image.open(bundle / picture.file) as image:
            assert (image.format, max(image.size) <= SIDE) == ("WEBP", True)


def test_usual_is_the_nearest_other_of_the_same_class() -> None:
    angles = np.deg2rad([0, 10, 180, 200])
    embeddings: Floats = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    usual = measure_usual([embeddings.astype(np.float16)], np.array([0, 0, 1, 1], np.int8))
    assert usual["real"][0] == usual["real"][1] > usual["fake"][1] > 0.9
