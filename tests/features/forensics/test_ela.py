"""Error levels: what was saved before changes less, and what was pasted in changes otherwise."""

import numpy as np
from forensic_pictures import compare, mark_middle, measure, save_jpeg, take_photos

from features.forensics.batch import Batch
from features.forensics.ela import COARSE, QUALITY, measure_coarse, save_again


def test_what_was_saved_at_low_quality_changes_less() -> None:
    photos = take_photos()
    changes = [compare("ela", "level", photos, save_jpeg(photos, q)) for q in (90, 60, 30)]
    assert changes[2] < changes[1] < -0.1
    assert compare("ela", "unchanged", photos, save_jpeg(photos, 30)) > 0.2


def test_the_same_quality_again_hardly_changes_it() -> None:
    photos = take_photos()
    saved = save_jpeg(photos, QUALITY)
    assert compare("ela", "level", photos, saved) < -0.4
    assert measure("ela", save_jpeg(saved, QUALITY))["unchanged"].min() > 0.9


def test_the_coarse_quality_tells_pictures_that_were_saved_with_it() -> None:
    photos = take_photos()
    saved = save_jpeg(photos, COARSE)
    assert compare("ela", "coarse level", photos, saved) < -0.3


def test_a_pasted_region_has_its_own_level() -> None:
    photos = take_photos()
    saved = save_jpeg(photos, 40)
    spliced = np.where(mark_middle(128), photos, saved)
    for column in ("local spread", "local range", "local clustering"):
        assert compare("ela", column, saved, spliced) > 0.05
        assert compare("ela", column, photos, spliced) > 0.05


def test_colours_that_were_subsampled_do_not_lie_on_the_steps_of_saving() -> None:
    photos = take_photos()
    plain, subsampled = (save_jpeg(photos, QUALITY, subsampling=s) for s in (0, 2))
    assert compare("ela", "chroma level", plain, subsampled) > 0.2


def test_saving_keeps_shape_and_kind() -> None:
    photos = take_photos(20)
    assert save_again(photos[0]).shape == (20, 20, 3)
    assert save_again(photos[0, :, :, 0]).shape == (20, 20)
    assert measure_coarse(Batch(photos).luma).shape == (4,)
