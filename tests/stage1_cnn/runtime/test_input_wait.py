import time

import numpy as np
import pytest
import torch
from small_task import keep_pixels, make_pixels

from features.crops.crop_store import CropStore
from features.crops.picture_store import FilePictures
from features.pixels.store import FileStore
from features.settings.images import Images
from stage1_cnn.runtime.input_wait import InputWait, advise_batch, advise_input

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def load_slowly(seconds, count=4):
    for number in range(count):
        time.sleep(seconds)
        yield number


def test_the_time_between_a_step_and_its_next_batch_is_waited_for():
    wait = InputWait(CPU)
    assert list(wait.watch(load_slowly(0.05))) == [0, 1, 2, 3]
    assert 0.15 <= wait.seconds < 0.2 + 0.3  # all but the first


def test_time_that_is_worked_in_is_not():
    wait = InputWait(CPU)
    for _ in wait.watch(range(4)):
        time.sleep(0.05)
    assert wait.seconds < 0.05


def test_on_a_gpu_the_time_is_the_devices_own(monkeypatch):
    """From the end of what it was given to the next batch, however long the host waits."""
    clock = iter(range(0, 1000, 10))

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = next(clock)

        def synchronize(self):
            pass

        def elapsed_time(self, later):
            return later.at - self.at  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    wait = InputWait(CUDA)
    assert list(wait.watch(range(4))) == [0, 1, 2, 3]
    assert wait.seconds == pytest.approx(0.03)


def test_advice_names_what_helps(tmp_path):
    files = FileStore(tmp_path, ["a.png"] * 1000, [""] * 1000, Images(size=256, store="none"))
    assert advise_input(0.05, files, 0.5) == ""
    text = advise_input(0.43, files, 0.0)
    assert "43 % of the time" in text
    assert "images.store raw keeps them decoded, 0.2 GB" in text
    labels = np.array([0, 1])
    kept = keep_pixels(tmp_path / "pixels.bin", make_pixels(labels))
    assert "images.store_dir is slower than the device" in advise_input(0.43, kept, 0.0)
    assert "augment.web damages 50 % of them" in advise_input(0.43, kept, 0.5)
    native = (np.full((1000, 2), 1000, np.int32), Images(size=256, store="none"), None)
    pictures = FilePictures(tmp_path, ["a.png"] * 1000, [""] * 1000, *native)
    assert "keeps them decoded, 3.0 GB" in advise_input(0.43, CropStore(pictures, 224), 0.0)


@pytest.mark.parametrize(("used", "said"), [(20, True), (60, False)])
def test_a_card_with_much_room_is_told_so(monkeypatch, used, said):
    facts = type("Facts", (), {"total_memory": 80e9})
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: used * 1e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: facts)
    assert ("20.0 of 80.0 GB" in advise_batch(CUDA)) is said
    assert advise_batch(CPU) == ""
