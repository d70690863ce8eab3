import numpy as np
import pytest
import torch
from pictures import make_pictures

from features.settings.learning import Augment
from stage1_cnn.augment.augmenter import FILES, SIGNALS, TURNS, Augmenter, draw_boxes, draw_uniform

SIDE = 40
NONE = {"hflip": 0.0}
CHANCES = ["self_blend", *(operation.name for operation in (*TURNS, *SIGNALS, *FILES))]
SETTINGS = {
    **{name: {**NONE, name: 0.6} for name in CHANCES},
    "crop": {**NONE, "crop_min_area": 0.3},
    "all": dict.fromkeys(CHANCES, 0.6) | {"crop_min_area": 0.3},
}


def change(settings, images, first=0, seed=11, labels=None, size=32):
    labels = np.arange(len(images)) % 2 if labels is None else labels
    changed, given = Augmenter(Augment(**settings), size, seed)(images.clone(), labels, first)
    return changed, torch.from_numpy(given)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_draw_is_a_function_of_its_place_however_the_draws_are_shared_out(name):
    images, labels = make_pictures(8, SIDE), np.arange(8) % 2
    whole = change(SETTINGS[name], images, 1000, labels=labels)
    assert not torch.equal(whole[0], images)
    for cuts in ((3, 8), range(1, 9)):
        start, parts = 0, []
        for stop in cuts:
            part = slice(start, stop)
            parts.append(change(SETTINGS[name], images[part], 1000 + start, labels=labels[part]))
            start = stop
        for found, wanted in zip(map(torch.cat, zip(*parts, strict=True)), whole, strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("changed", [{"first": 1008}, {"seed": 12}])
def test_other_places_and_seeds_give_other_changes(changed):
    images = make_pictures(8, SIDE)
    one = change(SETTINGS["all"], images, first=1000)
    other = change(SETTINGS["all"], images, **{"first": 1000, **changed})
    assert not (one[0] == other[0]).flatten(1).all(1).any()


def test_uniform_numbers_do_not_depend_on_how_the_table_is_cut():
    whole = draw_uniform(1, 2, 0, 50, 6)
    parts = [draw_uniform(1, 2, start, 10, 6) for start in range(0, 50, 10)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert draw_uniform(1, 2, 10**15, 1, 6).shape == (1, 6)
    assert len(np.unique([draw_uniform(s, t, 0, 4, 4) for s in (1, 2) for t in (2, 3)])) == 64


def test_streams_are_not_shared():
    streams = [operation.stream for operation in (*TURNS, *SIGNALS, *FILES)]
    assert len({0, 1, *streams}) == len(streams) + 2


@pytest.mark.parametrize("name", [name for name in CHANCES if name != "self_blend"])
def test_chances_are_kept_and_other_rows_are_left_to_the_bit(name):
    images = make_pictures(600, 12)
    found, labels = change({**NONE, name: 0.3}, images, size=12)
    changed = (found != images).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.06)
    assert torch.equal(labels, torch.arange(600) % 2)


def test_settings_without_changes_give_back_the_batch():
    images = make_pictures(4, SIDE)
    found, labels = change(NONE, images)
    assert torch.equal(found, images)
    assert labels.tolist() == [0, 1, 0, 1]


def test_switching_an_operation_on_leaves_the_draws_of_the_others():
    images = make_pictures(16, SIDE)
    alone, _ = change({**NONE, "rotate90": 0.5}, images)
    both, _ = change({**NONE, "rotate90": 0.5, "cutout": 0.5}, images)
    spared = (both != alone).any(3).float().mean((1, 2))
    assert spared.max() < 0.3
    assert (spared == 0).any()


def test_self_blended_reals_become_fakes_and_fakes_stay_as_they_are():
    images, labels = make_pictures(400, 16), torch.arange(400) % 2
    found, given = change({**NONE, "self_blend": 0.4}, images, labels=labels.numpy(), size=16)
    changed = (found != images).flatten(1).any(1)
    became = (given == 1) & (labels == 0)
    assert torch.equal(labels, torch.arange(400) % 2)
    assert not changed[labels == 1].any()
    assert (given[labels == 1] == 1).all()
    assert torch.equal(changed & (labels == 0), became)
    assert became.sum() / 200 == pytest.approx(0.4, abs=0.08)


def test_reals_are_blended_within_their_own_faces():
    images, labels = make_pictures(60, SIDE), np.arange(60) % 3 // 2
    faces = np.full((60, 4), np.nan)
    faces[::2] = 0.7, 0.7, 0.2, 0.2  # down on the right
    blend = Augmenter(Augment(**NONE, self_blend=0.7), SIDE, 11)
    plain, _ = blend(images.clone(), labels, 0)
    found, _ = blend(images.clone(), labels, 0, faces)
    assert torch.equal(found[1::2], plain[1::2])
    half = SIDE // 2
    assert torch.equal(found[::2, :half, :half], images[::2, :half, :half])
    assert not torch.equal(plain[::2, :half, :half], images[::2, :half, :half])
    assert (found[::2] != images[::2]).flatten(1).any(1).sum() > 5


@pytest.mark.parametrize(("least", "aspect"), [(0.1, 4 / 3), (0.9, 4 / 3), (0.02, 2.0)])
def test_boxes_have_the_area_and_aspect_that_was_asked_for(least, aspect):
    rng, side = np.random.default_rng(0), 500
    areas = rng.uniform(least, 1, 5000)
    tops, lefts, heights, widths = draw_boxes(rng.random((5000, 3)), areas, aspect, side).T
    np.testing.assert_allclose(heights * widths / side**2, areas, atol=0.003)
    assert np.abs(np.log(widths / heights)).max() < np.log(aspect) + 0.03
    assert min(tops.min(), lefts.min()) == 0
    assert (tops + heights).max() == (lefts + widths).max() == side


def test_crops_have_the_size_of_the_network_and_nothing_beside_the_picture():
    slope = torch.arange(64, dtype=torch.uint8)[:, None].expand(64, 3)
    found, _ = change({**NONE, "crop_min_area": 0.25}, slope.expand(50, 64, 64, 3))
    assert found.shape == (50, 32, 32, 3)
    spans = (found[:, 0, -1, 0].int() - found[:, 0, 0, 0].int()).float() * 32 / 31 / 64
    assert 0.4 < spans.min() < 0.65
    assert spans.max() > 0.9


@pytest.mark.parametrize(
    ("name", "weak", "strong"),
    [
        ("noise", {"noise_std": (1, 1)}, {"noise_std": (20, 20)}),
        ("blur", {"blur_sigma": (0.4, 0.4)}, {"blur_sigma": (3, 3)}),
        ("jpeg", {"jpeg_quality": (99, 99)}, {"jpeg_quality": (10, 10)}),
        ("rescale", {"rescale_factor": (0.95, 0.95)}, {"rescale_factor": (0.2, 0.2)}),
        ("colour", {"colour_strength": 0.02}, {"colour_strength": 0.5}),
        ("cutout", {"cutout_area": (0.01, 0.02)}, {"cutout_area": (0.6, 0.6)}),
    ],
)
def test_the_ranges_of_the_settings_reach_the_operations(name, weak, strong):
    images = make_pictures(16, SIDE)
    little, much = (
        (change({**NONE, name: 1.0, **bounds}, images)[0].float() - images).abs().mean()
        for bounds in (weak, strong)
    )
    assert 0 < 2 * little < much
