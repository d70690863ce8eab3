import numpy as np
import pytest
import torch
from pictures import make_pictures

from stage1_cnn.augment import draw_uniform
from stage1_cnn.distortions import to_planes
from stage1_cnn.self_blend import DRAWS, RATIOS, blend_with_self, turn_hue

COUNT, SIDE = 48, 64


@pytest.fixture(scope="module")
def blended():
    planes = to_planes(make_pictures(COUNT, SIDE))
    return planes, blend_with_self(planes, draw_uniform(3, 1, 0, COUNT, DRAWS))


def test_only_the_inside_of_the_mask_differs_from_the_target(blended):
    _, blend = blended
    outside = (blend.mask == 0).expand_as(blend.images)
    assert torch.equal(blend.images[outside], blend.target[outside])
    inside = (blend.images - blend.target).abs().mean(1, keepdim=True)[blend.mask > 0.2]
    assert inside.mean() > 3


def test_the_target_is_the_image_itself_in_half_of_the_rows(blended):
    planes, blend = blended
    same = (blend.target == planes).flatten(1).all(1)
    assert 0.3 < same.float().mean() < 0.7
    # The statistics change within what a photo keeps: no picture turns dark or another colour.
    assert (blend.target.mean((2, 3)) - planes.mean((2, 3))).abs().max() < 60


def test_masks_are_soft_shapes_around_the_centre_with_one_of_the_ratios(blended):
    mask = blended[1].mask
    tops = mask.amax((1, 2, 3)).numpy()
    assert np.abs(tops[:, None] - RATIOS).min(1).max() < 0.01
    assert {round(float(t), 2) for t in tops} == set(RATIOS)
    areas = (mask > 0).float().mean((1, 2, 3))
    assert areas.min() > 0.05
    assert areas.max() < 0.9
    corners = mask[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() == 0
    steps = (mask.diff(dim=3).abs().amax((1, 2, 3))).numpy() / tops
    assert np.median(steps) < 0.5


def test_masks_differ_in_place_and_form(blended):
    masks = (blended[1].mask > 0).flatten(1).float()
    shared = masks @ masks.T / masks.sum(1)
    assert (shared - torch.eye(COUNT)).max() <= 1
    overlap = masks @ masks.T / (masks.sum(1)[:, None] + masks.sum(1) - masks @ masks.T)
    assert (overlap - torch.eye(COUNT)).max() < 0.97


def test_no_border_comes_into_the_picture():
    white = torch.full((COUNT, 3, SIDE, SIDE), 200.0)
    blend = blend_with_self(white, draw_uniform(4, 1, 0, COUNT, DRAWS))
    assert blend.images.min() > 130


def test_hue_turns_keep_greys_and_the_sum_of_the_channels():
    planes = to_planes(make_pictures(2, 8))
    turned = turn_hue(planes, np.array([0.3, -2 * np.pi / 3]))
    torch.testing.assert_close(turned.sum(1), planes.sum(1), atol=1e-2, rtol=0)
    assert (turned[0] - planes[0]).abs().max() > 3
    torch.testing.assert_close(turned[1], planes[1].roll(-1, 0), atol=1e-2, rtol=0)
    grey = planes.mean(1, keepdim=True).repeat(1, 3, 1, 1)
    torch.testing.assert_close(turn_hue(grey, np.array([0.3, 1.0])), grey, atol=1e-3, rtol=0)


def test_too_few_numbers_are_refused():
    planes = to_planes(make_pictures(2, 16))
    with pytest.raises(ValueError, match="9 drawn"):
        blend_with_self(planes, np.full((2, 9), 0.5))
