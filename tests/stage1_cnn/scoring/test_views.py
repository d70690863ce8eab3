import numpy as np
import pytest
import torch
from small_task import SIZE, make_settings

from stage1_cnn.networks.network import build_network
from stage1_cnn.networks.normalise import resize_pixels
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.views import view_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def engine():
    torch.manual_seed(0)
    settings = make_settings()
    return build_torch_engine(build_network(settings), settings, CPU)


def draw_images(count=5, side=SIZE):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def score(engine, images):
    return [part.numpy() for part in engine(torch.from_numpy(np.ascontiguousarray(images)))]


MADE_BY_HAND = {
    "none": lambda x: [x],
    "hflip": lambda x: [x, x[:, :, ::-1]],
    "six": lambda x: [x, x[:, :, ::-1], x[:, ::-1], *(np.rot90(x, k, (1, 2)) for k in (1, 2, 3))],
}


@pytest.mark.parametrize("tta", MADE_BY_HAND)
def test_scores_are_the_mean_over_images_turned_by_hand(engine, tta):
    images = draw_images()
    turned = MADE_BY_HAND[tta](images)
    assert len({view.tobytes() for view in turned}) == len(turned)
    scores = [score(engine, view) for view in turned]
    for found, parts in zip(
        score(view_images(engine, tta), images), zip(*scores, strict=True), strict=True
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-5)


def test_with_hflip_an_image_and_its_mirror_image_are_scored_alike(engine):
    images = draw_images()
    mirrored = images[:, :, ::-1]
    assert not np.array_equal(score(engine, images)[0], score(engine, mirrored)[0])
    both = view_images(engine, "hflip")
    for one, other in zip(score(both, images), score(both, mirrored), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("tta", MADE_BY_HAND)
def test_larger_images_are_resized_as_in_training(engine, tta):
    images = draw_images(side=SIZE + 16)
    scores = [score(engine, view) for view in MADE_BY_HAND[tta](images)]
    for found, parts in zip(
        score(view_images(engine, tta), images), zip(*scores, strict=True), strict=True
    ):
        np.testing.assert_allclose(found, np.mean(parts, axis=0), atol=1e-5)


def test_resizing_leaves_pixels_of_the_right_size_alone():
    images = torch.from_numpy(draw_images())
    assert resize_pixels(images, SIZE) is images
    larger = resize_pixels(images, SIZE // 2)
    assert (larger.dtype, larger.shape) == (torch.float32, (5, SIZE // 2, SIZE // 2, 3))
