"""Where networks run, and what is said where they cannot; no test needs a card."""

import logging
import os

import numpy as np
import pytest
import torch

from features.errors import ConfigError, DeviceMemoryError
from stage1_cnn.networks import devices
from stage1_cnn.networks.devices import (
    choose_precision,
    fixed_algorithms,
    has_kernels,
    pick_device,
    prepare_device,
    send,
    tell_memory,
)
from stage1_cnn.runtime.launch import launch_processes

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
LOCKED = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
"""What the locked torch is built for."""


@pytest.fixture
def cards(monkeypatch):
    """A machine with two cards, as far as one asks for them."""
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla Test")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: LOCKED)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    with torch.backends.cudnn.flags(enabled=True):  # put back what a test sets
        yield
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.fault("a GPU asked for and none there", "error", "Settings and surroundings")
def test_asking_for_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "tpu9000")
    with pytest.raises(ConfigError, match="tpu9000"):
        pick_device()
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA"):
        pick_device()
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "cpu")
    assert pick_device().type == "cpu"


def test_each_process_has_a_card_of_its_own(cards):
    assert [pick_device(rank, 2) for rank in (0, 1)] == [CUDA, torch.device("cuda", 1)]
    with pytest.raises(ConfigError, match="the number of cards is 2"):
        pick_device(2, 3)


def test_one_card_for_several_processes_is_refused(cards, monkeypatch):
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "cuda:1")
    assert pick_device() == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match="cuda:1 is one card, and 2 processes want one each"):
        pick_device(0, 2)


def test_what_processes_cannot_have_is_said_once_before_they_start(cards):
    with pytest.raises(ConfigError, match="cuda:2 was asked for"):
        launch_processes("stage1_cnn.train", [], 3)


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((6, 0), LOCKED, False),  # P100
        ((7, 0), LOCKED, False),  # V100
        ((7, 5), LOCKED, True),  # T4
        ((8, 9), LOCKED, True),  # RTX 4090: sm_86 runs on it
        ((9, 0), LOCKED, True),  # H100
        ((9, 0), ["sm_90a"], True),
        ((11, 0), LOCKED, False),  # of another major version than all
        ((13, 0), [*LOCKED, "compute_120"], True),  # translated on the card
        ((7, 5), ["compute_80"], False),
    ],
)
def test_which_cards_the_installed_torch_has_kernels_for(capability, built, runs):
    assert has_kernels(capability, built) is runs


def test_a_card_without_kernels_is_told_so_before_any_work(cards, monkeypatch):
    prepare_device(CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 0))
    with pytest.raises(ConfigError, match=r"Tesla Test \(sm_60\)(.|\n)*FORGERYSTACK_DEVICE=cpu"):
        prepare_device(CUDA)


def test_float32_is_no_tf32_on_a_card(cards):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    prepare_device(CUDA)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.benchmark


def test_fixed_algorithms_end_with_what_was_before(cards):
    prepare_device(CUDA)
    cudnn = torch.backends.cudnn
    with fixed_algorithms():
        assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (False, True, False)
    assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (True, False, False)


@pytest.mark.parametrize(
    ("driver", "visible", "said"), [(True, None, True), (True, "", False), (False, None, False)]
)
def test_a_card_that_torch_cannot_use_is_no_secret(
    monkeypatch, tmp_path, caplog, driver, visible, said
):
    monkeypatch.setenv("FORGERYSTACK_DEVICE", "auto")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "DRIVER", tmp_path if driver else tmp_path / "none")
    with caplog.at_level(logging.WARNING, "forgerystack"):
        assert pick_device() == CPU
    assert ("driver is too old" in caplog.text) is said


@pytest.mark.fault(
    "too little memory on the card or beside it",
    "error that says what to do",
    "Numbers and memory",
)
@pytest.mark.parametrize(
    ("error", "place"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "cuda:0"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cub…`"), "cuda:0"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "cuda:0"),
        (RuntimeError("CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"), "this machine"),
        (torch.AcceleratorError("CUDA error: out of memory", 2), "this machine"),  # pinned
        (RuntimeError("[enforce fail at alloc_cpu.cpp] can't allocate memory"), "this machine"),
        (MemoryError("Unable to allocate 9.00 GiB for an array"), "this machine"),
    ],
)
def test_too_little_memory_is_told_whatever_finds_it(error, place):
    with pytest.raises(DeviceMemoryError, match=rf"{place} has too little memory\. Do this"):  # noqa: SIM117
        with tell_memory(CUDA, "Do this"):
            raise error


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"):  # noqa: SIM117
        with tell_memory(CUDA):
            raise RuntimeError("shapes do not match")


def test_what_is_sent_to_a_card_is_pinned_and_not_waited_for(monkeypatch):
    said = []

    class Recorded(torch.Tensor):
        def pin_memory(self):
            said.append("pinned")
            return self

        def to(self, device, non_blocking=False):
            said.append((device, non_blocking))
            return self

    send(torch.zeros(3).as_subclass(Recorded), CUDA)
    assert said == ["pinned", (CUDA, True)]
    np.testing.assert_array_equal(send(np.arange(3), CPU), np.arange(3))


@pytest.mark.fault(
    "a card without bfloat16",
    "float16 with `auto`; an error if bfloat16 was asked for",
    "Settings and surroundings",
)
def test_precision_follows_the_card(cards, monkeypatch):
    for has, wanted in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(devices, "_has_bfloat16", lambda has=has: has)
        assert choose_precision("auto", CUDA) == wanted
    with pytest.raises(ConfigError, match="Tesla Test has none"):
        choose_precision("bfloat16", CUDA)
    assert choose_precision("auto", CPU) == torch.float32


def test_tests_run_on_the_cpu_whatever_is_there():
    assert os.environ["FORGERYSTACK_DEVICE"] == "cpu"
