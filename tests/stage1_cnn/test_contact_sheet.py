import numpy as np
from PIL import Image
from small_task import make_settings

from features.augment_params import Augment
from stage1_cnn import contact_sheet
from stage1_cnn.contact_sheet import COLOURS, FRAME, choose_rows, draw_sheet, make_views, name_label


def test_rows_are_half_reals_and_none_of_the_fold(task):
    train, _ = task
    rows = choose_rows(train, train.rows_to_learn(1), 8, seed=0)
    assert train.labels[rows].tolist() == [0] * 4 + [1] * 4
    assert not (train.folds[rows] == 1).any()
    assert len(choose_rows(train, train.rows_to_learn(1), 1000, seed=0)) == 24 + 96


def test_views_are_the_stored_images_and_what_the_network_gets_of_them(task):
    train, store = task
    rows = choose_rows(train, train.rows_to_learn(0), 6, seed=0)
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
    rows = choose_rows(train, train.rows_to_learn(0), 4, seed=0)
    labels = train.labels[rows].astype(np.int64)
    settings = make_settings(augment=Augment(cutmix=1.0))
    views = make_views(store.gather(rows), labels, settings, 5)
    shares = np.stack([view.fakeness for view in views[1:]])
    assert ((shares > 0) & (shares < 1)).any()
    sheet = np.asarray(draw_sheet(["a.png"] * 4, views))
    for colour in COLOURS:
        assert (sheet == colour).all(2).sum() > 4 * FRAME * 32
    assert [name_label(share) for share in (0.0, 1.0, 0.3)] == ["real", "fake", "0.30 fake"]


def test_command_writes_a_sheet_of_all_rows_and_columns(task, tmp_path, monkeypatch):
    train, store = task
    monkeypatch.chdir(tmp_path)
    settings = make_settings()
    monkeypatch.setattr(contact_sheet, "read_manifest", lambda *_: train)
    monkeypatch.setattr(contact_sheet, "open_store", lambda *_: store)
    monkeypatch.setattr(contact_sheet, "load_params", lambda *_: StandIn(settings))
    contact_sheet.main("tiny", fold=2, rows=4, views=3)
    sheet = Image.open(tmp_path / "artifacts" / "contact_sheets" / "tiny-2.png")
    assert sheet.width > 4 * 32
    assert sheet.height > 4 * 32
