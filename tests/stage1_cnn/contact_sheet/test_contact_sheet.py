from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from small_task import SIZE, make_pixels, make_settings, make_table

from features.core.files import digest_file
from features.core.manifest import write_manifest
from features.errors import ConfigError
from features.settings.learning import Augment
from stage1_cnn.contact_sheet.__main__ import main
from stage1_cnn.contact_sheet.damages import SIDE, fit_cell
from stage1_cnn.contact_sheet.run import (
    COLOURS,
    FRAME,
    choose_pictures,
    draw_sheet,
    make_views,
    name_label,
)
from stage1_cnn.damage.chains import DAMAGES

PRESETS = Path(__file__).parents[3] / "presets"
FRAME_PIXELS = 4 * FRAME * (SIZE + FRAME)


def test_rows_are_half_reals_and_none_of_the_fold(task):
    train, _ = task
    rows = choose_pictures(train, train.rows_to_learn(1), 8, seed=0)
    assert train.labels[rows].tolist() == [0] * 4 + [1] * 4
    assert not (train.folds[rows] == 1).any()
    assert len(choose_pictures(train, train.rows_to_learn(1), 1000, seed=0)) == 24 + 96


def test_views_are_the_stored_images_and_what_the_network_gets_of_them(task):
    train, store = task
    rows = choose_pictures(train, train.rows_to_learn(0), 6, seed=0)
    pixels, labels = store.gather(rows), train.labels[rows].astype(np.int64)
    settings = make_settings(augment=Augment(hflip=0.0, self_blend=1.0))
    views = make_views(pixels, labels, settings, 2)
    np.testing.assert_array_equal(views[0].images, pixels)
    np.testing.assert_array_equal(views[0].fakeness, labels)
    for view in views[1:]:
        assert (view.fakeness == 1).all()
        np.testing.assert_array_equal(view.images[3:], pixels[3:])
    assert (views[1].images[:3] != views[2].images[:3]).any()


def test_frames_have_the_colour_of_the_label_also_of_mixed_ones(task):
    train, store = task
    rows = choose_pictures(train, train.rows_to_learn(0), 4, seed=0)
    labels = train.labels[rows].astype(np.int64)
    settings = make_settings(augment=Augment(cutmix=1.0))
    views = make_views(store.gather(rows), labels, settings, 5)
    shares = np.stack([view.fakeness for view in views[1:]])
    assert ((shares > 0) & (shares < 1)).any()
    sheet = np.asarray(draw_sheet(["a.png"] * 4, views))
    for colour in COLOURS:
        assert (sheet == colour).all(2).sum() > FRAME_PIXELS
    assert [name_label(share) for share in (0.0, 1.0, 0.3)] == ["real", "fake", "0.30 fake"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params, a manifest and 16 images, where the command is run."""
    monkeypatch.chdir(tmp_path)
    labels, folds = np.array([0, 1] * 8, np.int8), np.repeat([0, 1], 8).astype(np.int16)
    table = make_table(labels, folds)
    (tmp_path / "images").mkdir()
    for path, pixels in zip(table["path"], make_pixels(labels), strict=True):
        Image.fromarray(pixels).save(path)
    table["bytes"] = [Path(path).stat().st_size for path in table["path"]]
    table["sha256"] = [digest_file(Path(path)) for path in table["path"]]
    write_manifest(table, "train", Path("artifacts/manifest/train.parquet"))
    values = yaml.safe_load((PRESETS / "tiny.yaml").read_text())
    values["data"]["root"] = "."
    values["images"] |= {"size": SIZE, "store": "none"}
    values["backbones"] = {"small": {"model": "test_resnet"}}
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


def test_command_writes_a_sheet_of_all_rows_and_columns(project, caplog):
    caplog.set_level("INFO")
    main("small", fold=1, rows=4, views=3, overrides=["augment.self_blend=1.0"])
    path = Path("artifacts/contact_sheets/small-1.png")
    assert str(path) in caplog.text
    pixels = np.asarray(Image.open(path))
    frames = [(pixels == colour).all(2).sum() // FRAME_PIXELS for colour in COLOURS]
    assert frames == [2, 14]  # the stored reals; all else is fake or becomes it


def test_command_writes_where_it_is_told_to(project):
    main("small", rows=2, views=1, out=Path("there/sheet.png"))
    assert Image.open("there/sheet.png").format == "PNG"
    assert not Path("artifacts/contact_sheets").exists()


def test_damages_are_shown_one_by_one_and_in_tiers(project):
    main("small", fold=1, rows=4, damages=True)
    sheet = Image.open("artifacts/contact_sheets/damages-1.png")
    columns = 1 + len(DAMAGES) + 2
    assert sheet.width > columns * SIDE
    cell = fit_cell(np.full((600, 300, 3), 7, np.uint8))
    assert cell.shape == (256, 256, 3)
    assert (cell[:, 70:180] == 7).all()


def test_of_crops_each_draw_shows_another_square_of_the_same_pixels(project):
    crop = ["backbones.small.images.mode=crop", "backbones.small.image_size=16"]
    main("small", rows=2, views=5, overrides=crop, out=Path("sheet.png"))
    sheet = np.asarray(Image.open("sheet.png"))
    lines, columns = ((sheet == COLOURS[0]).all(2).any(axis) for axis in (1, 0))
    top, lefts = (
        np.flatnonzero(lines)[-1] + 1 - FRAME - 16,
        np.flatnonzero(np.diff(columns * 1) == 1),
    )
    squares = [sheet[top : top + 16, left + 1 + FRAME : left + 17 + FRAME] for left in lefts[-6:]]
    assert all(square.shape == (16, 16, 3) for square in squares)
    assert len({square.tobytes() for square in squares}) > 3


def test_a_frozen_network_has_no_draws_but_damages(project):
    frozen = ["backbones.small={kind: frozen, model: test_resnet, pretrained: true}"]
    with pytest.raises(ConfigError, match="test_resnet is frozen"):
        main("small", overrides=[*frozen, "augment.web=1.0"])
    assert not Path("artifacts/contact_sheets").exists()
    main("small", rows=2, damages=True, overrides=frozen, out=Path("sheet.png"))
    assert Path("sheet.png").exists()
