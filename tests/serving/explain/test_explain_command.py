"""The command `explain`."""

import logging
from pathlib import Path

import pytest

from features.errors import ConfigError, PictureError
from serving.explain.__main__ import main as explain
from serving.sheet.page import build_sheet


def test_the_sheet_is_written_and_summed_up(ensemble, bundle, pictures, tmp_path, caplog):
    caplog.set_level(logging.INFO, "forgerystack")
    out = tmp_path / "sheet.html"
    explain(pictures[0], bundle, out)
    sheet = build_sheet(ensemble, pictures[0].read_bytes(), pictures[0].name)
    assert out.read_text(encoding="utf-8") == sheet
    assert "marks of origin: none" in caplog.text


def test_a_missing_picture_is_said(bundle, tmp_path):
    with pytest.raises(PictureError, match="missing"):
        explain(tmp_path / "none.png", bundle, tmp_path / "sheet.html")
    assert not (tmp_path / "sheet.html").exists()


def test_a_sheet_does_not_take_the_place_of_its_picture(bundle, pictures, tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(content := pictures[0].read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="name another file"):
        explain(tmp_path / "a.jpg", bundle, Path("a.jpg"))
    assert (tmp_path / "a.jpg").read_bytes() == content
