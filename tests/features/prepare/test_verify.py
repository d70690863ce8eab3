"""`prepare --verify`: every file and every block of the store is read again."""

from pathlib import Path

import pytest
from made_data import prepare_params

from features.core.manifest import read_manifest
from features.crops.picture_cache import PictureCache
from features.crops.picture_store import open_pictures
from features.errors import ManifestError
from features.pixels.cache import ImageCache
from features.prepare.run import run
from features.prepare.verify import verify_data


@pytest.fixture
def prepared(data: Path, tmp_path: Path) -> Path:
    """The folder of the manifests."""
    run(prepare_params(data), tmp_path / "out")
    return tmp_path / "out"


def test_what_has_not_changed_is_told_in_one_line(
    prepared: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "forgerystack"):
        verify_data(prepare_params(data), prepared)
    assert caplog.messages[-2] == "prepare: 32 files read again, 0 changed"
    assert caplog.messages[-1].startswith("prepare: 0 damaged blocks in")


@pytest.mark.fault(
    "a flipped byte in a file that still decodes",
    "error of `prepare --verify`; nothing else can see it",
    "Pictures",
)
def test_a_flipped_byte_that_still_decodes_is_found(prepared: Path, data: Path) -> None:
    for name in ("trainset/train03.png", "valset/val05.png"):
        path = data / name
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    (data / "testset/test00.png").unlink()
    with pytest.raises(ManifestError) as error:
        verify_data(prepare_params(data), prepared)
    assert "3 problems" in str(error.value)
    for text in ("train03.png: its content has changed", "val05.png", "test00.png: missing"):
        assert text in str(error.value)


def test_damaged_blocks_of_the_store_are_forgotten(
    prepared: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = prepare_params(data)
    open_pictures(read_manifest(prepared, "train"), data, params.images, None)
    caches = [ImageCache(params.images), PictureCache(params.images, None)]
    for path in (caches[0].pixels.locate(0).path, caches[1].pictures.locate(0).path):
        content = bytearray(path.read_bytes())
        content[7] ^= 255
        path.write_bytes(content)
    with caplog.at_level("INFO", "forgerystack"):
        verify_data(params, prepared)
    told = [f"prepare: 1 damaged blocks in {cache.folder}" for cache in caches]
    assert set(told) <= set(caplog.messages)
    caplog.clear()
    run(params, prepared)
    with caplog.at_level("INFO", "forgerystack"):
        verify_data(params, prepared)
    assert all("0 damaged blocks" in line for line in caplog.messages[-2:])
