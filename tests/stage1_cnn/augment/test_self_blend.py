import numpy as np
import pytest
import torch
from pictures import make_pictures

from stage1_cnn.augment.augmenter import draw_uniform
from stage1_cnn.augment.distortions import to_planes
from stage1_cnn.augment.self_blend import (
    DRAWS,
    RATIOS,
    UniformColumns,
    blend_with_self,
    change_statistics,
    move,
    turn_hue,
)

COUNT, SIDE = 48, 64


@pytest.fixture(scope="module")
def blended():
    """Planes, what became of them, and the shares of the source."""
    planes = to_planes(make_pictures(COUNT, SIDE))
    return planes, *blend_with_self(planes, draw_uniform(3, 1, 0, COUNT, DRAWS))


def test_pictures_change_only_inside_of_the_mask(blended):
    planes, found, share = blended
    outside = (share == 0).expand_as(found)
    assert torch.equal(found[outside], planes[outside])
    inside = (found - planes).abs().mean(1, keepdim=True)[share > 0.2]
    assert inside.mean() > 3


def test_sources_keep_the_look_of_the_picture(blended):
    planes, found, share = blended
    whole = (share == 1).expand_as(found)
    shifts = torch.stack([(f - p)[w].mean() for f, p, w in zip(found, planes, whole, strict=True)])
    assert 1 < shifts.nan_to_num().abs().max() < 40


def test_sources_are_sharpened_or_made_coarse():
    planes = to_planes(make_pictures(COUNT, SIDE))
    source = change_statistics(planes, UniformColumns(draw_uniform(3, 1, 0, COUNT, DRAWS)))
    rough = source.diff(dim=3).abs().mean((1, 2, 3)) / planes.diff(dim=3).abs().mean((1, 2, 3))
    assert 0.3 < (rough > 1).float().mean() < 0.7
    assert rough.min() < 0.8
    assert rough.max() > 1.2


def test_masks_are_soft_shapes_around_the_centre_with_one_of_the_ratios(blended):
    mask = blended[2]
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
    masks = (blended[2] > 0).flatten(1).float()
    shared, areas = masks @ masks.T, masks.sum(1)
    overlaps = shared / (areas[:, None] + areas - shared)  # intersection over union
    assert (overlaps - torch.eye(COUNT)).max() < 0.97


def test_masks_lie_in_the_box_of_the_face_where_one_is_known(blended):
    planes, _, plain = blended
    faces = np.tile([0.6, 0.1, 0.2, 0.3], (COUNT, 1))  # up on the right
    faces[::2] = np.nan
    _, share = blend_with_self(planes, draw_uniform(3, 1, 0, COUNT, DRAWS), faces)
    assert torch.equal(share[::2], plain[::2])
    masks = (share[1::2, 0] > 0).float()
    places = torch.arange(SIDE) / SIDE
    across, down = masks.sum(1), masks.sum(2)
    middle_x, middle_y = ((m * places).sum(1) / m.sum(1) for m in (across, down))
    assert ((middle_x > 0.55) & (middle_x < 0.85)).all()
    assert ((middle_y > 0.1) & (middle_y < 0.4)).all()
    assert masks.mean((1, 2)).max() < 0.25  # the face is a sixteenth of the picture


def test_sources_move_a_little_and_no_border_comes_into_the_picture():
    place = torch.arange(SIDE * 2.0).expand(COUNT, 1, SIDE, SIDE * 2)[..., SIDE // 2 : -SIDE // 2]
    columns = UniformColumns(draw_uniform(4, 1, 0, COUNT, DRAWS))
    moved = move(place.contiguous(), columns)
    shifts = (moved - place)[:, 0, SIDE // 2]
    centre, ends = shifts[:, SIDE // 2].abs() / SIDE, shifts[:, [0, -1]].abs() / SIDE
    assert 0.02 < centre.max() < 0.032
    assert 0.04 < ends.max() < 0.06


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
