"""What runs on a GPU, on one that only pretends: it has no values, but shapes, types and places.

An operation that mixes devices raises here as on a card. So does one that reads a value; and what
else the host would have to wait for is counted, and so are kernels.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_task import make_settings
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from features.core.manifest import LearnRows, Manifest
from features.settings.learning import Augment, Ema, Loss, Network, Optimizer, Schedule
from stage1_cnn.augment import distortions, jpeg, self_blend
from stage1_cnn.augment.augmenter import Augmenter
from stage1_cnn.augment.mixing import mix_batch
from stage1_cnn.losses.class_weights import ClassTotals
from stage1_cnn.losses.registry import LOSSES, build_loss
from stage1_cnn.networks import devices
from stage1_cnn.networks import normalise as noise
from stage1_cnn.networks.network import build_network
from stage1_cnn.networks.normalise import Normaliser
from stage1_cnn.sampling.loader import BatchLoader, TrainBatch
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.train import trainer
from stage1_cnn.train.trainer import Trainer

CUDA = torch.device("cuda", 0)
ROWS, SIDE = 16, 32
CHANCES = (
    *("hflip", "vflip", "rotate90", "colour", "rescale", "blur", "noise", "jpeg", "cutout"),
    "self_blend",
)
ALONE = {name: {"hflip": 0.0, name: 1.0} for name in CHANCES}
ALONE["crop"] = {"hflip": 0.0, "crop_min_area": 0.3}
ALONE["all"] = dict.fromkeys(CHANCES, 0.5) | {"crop_min_area": 0.5}
TOTALS = ClassTotals((20, 80), weights=(20.0, 80.0), masses=(0.2, 0.8))
COPIES = ("_to_copy", "copy_")
READS = ("_local_scalar_dense", "nonzero", "masked_select")


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    """The device; pinned memory, which only a real one has, is left out."""
    monkeypatch.setattr(devices, "pin", lambda tensor: tensor)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield
    for cached in (distortions._tabulate_normals, jpeg._place, noise._build_kernels):
        cached.cache_clear()  # what they hold has no values


class Calls(TorchDispatchMode):
    """Counts kernels on the device, and what the host waits for."""

    def __init__(self):
        super().__init__()
        self.kernels, self.waits = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._schema.name.removeprefix("aten::")
        places = {a.device.type for a in args if isinstance(a, torch.Tensor)}
        places |= {result.device.type} if isinstance(result, torch.Tensor) else set()
        crosses = name in COPIES and places == {"cpu", "cuda"}
        if crosses and not (kwargs.get("non_blocking") or True in args[2:]):
            self.waits[name] += 1
        if name in READS and "cuda" in places:
            self.waits[name] += 1
        if "cuda" in places and not crosses and _is_kernel(func, name):
            self.kernels[name] += 1
        return result


def _is_kernel(func, name):
    """Not a view, nor what asks for memory or for facts."""
    alias = [returned.alias_info for returned in func._schema.returns]
    is_view = bool(alias) and all(a is not None and not a.is_write for a in alias)
    return func.namespace == "aten" and not is_view and "empty" not in name


def count_calls(work):
    """Of the second time: constants travel once in a training."""
    work()
    with Calls() as calls:
        work()
    return calls


def make_pixels(rows=ROWS, side=SIDE):
    return torch.empty(rows, side, side, 3, dtype=torch.uint8, device=CUDA)


@pytest.mark.parametrize("name", ALONE)
def test_nothing_waits_for_the_device_in_augmentation(name):
    augmenter, labels = Augmenter(Augment(**ALONE[name]), SIDE, 0), np.arange(ROWS) % 2

    def change():
        images, _ = augmenter(make_pixels(), labels, 0)
        assert (images.device, images.dtype, images.shape) == (CUDA, torch.uint8, (ROWS, 32, 32, 3))

    calls = count_calls(change)
    assert not calls.waits
    assert calls.kernels


@pytest.mark.parametrize("name", [name for name in ALONE if name not in ("self_blend", "all")])
def test_the_number_of_kernels_does_not_follow_that_of_rows(name):
    def count(rows):
        augmenter = Augmenter(Augment(**ALONE[name]), SIDE, 0)
        calls = count_calls(lambda: augmenter(make_pixels(rows), np.ones(rows, np.int64), 0))
        return sum(calls.kernels.values())

    assert count(60) == count(20)


def test_flips_and_normalising_of_a_batch_are_a_few_kernels():
    augmenter = Augmenter(Augment(hflip=0.5, vflip=0.5), 256, 0)
    normalise = Normaliser((0.5,) * 3, (0.2,) * 3, 256, CUDA)
    labels = np.ones(128, np.int64)
    calls = count_calls(lambda: normalise(augmenter(make_pixels(128, 256), labels, 0)[0]))
    assert not calls.waits
    assert sum(calls.kernels.values()) <= 20


@pytest.mark.parametrize("rows", [1, ROWS])
def test_blending_stays_on_its_device(rows):
    planes = torch.empty(rows, 3, SIDE, SIDE, device=CUDA)
    uniform = np.random.default_rng(0).random((rows, self_blend.DRAWS))
    blended, share = self_blend.blend_with_self(planes, uniform)
    assert (blended.device, share.device) == (CUDA, CUDA)


@pytest.mark.parametrize("seen", ["rgb", "srm", "rgb+srm"])
@pytest.mark.parametrize("side", [SIDE, 16])
def test_networks_are_given_channels_last_without_waiting(seen, side):
    normalise = Normaliser((0.5,) * 3, (0.2,) * 3, side, CUDA, seen)

    def check():
        assert normalise(make_pixels()).is_contiguous(memory_format=torch.channels_last)

    assert not count_calls(check).waits


def test_mixing_keeps_channels_last_and_waits_for_nothing():
    images = torch.empty(16, 3, SIDE, SIDE, device=CUDA, memory_format=torch.channels_last)
    labels = torch.zeros(16, dtype=torch.int64, device=CUDA)

    def mix():
        mixed, targets = mix_batch(images, labels, Augment(mixup=0.5, cutmix=0.5), 0, 0)
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        assert targets.device == CUDA

    assert not count_calls(mix).waits


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_wait_for_nothing(kind):
    loss = build_loss(Loss(kind=kind), TOTALS)
    logits, weights = torch.empty(ROWS, 2, device=CUDA), torch.empty(ROWS, device=CUDA)
    labels = torch.zeros(ROWS, dtype=torch.int64, device=CUDA)

    def measure():
        assert loss.measure(logits, labels).device == CUDA
        assert loss.row_weights(labels, weights, len(labels)).device == CUDA

    assert not count_calls(measure).waits


STEPS = {
    "plain": {"augment": Augment(hflip=0.5, vflip=0.5)},
    "everything": {
        "augment": Augment(**ALONE["all"], mixup=0.5, cutmix=0.5),
        "loss": Loss(label_smoothing=0.1),
        "optimizer": Optimizer(clip_grad=1.0),
        "schedule": Schedule(epochs=1, batch_size=ROWS, accumulate=2),
    },
    "float32": {"network": Network(precision="float32")},
    "sphere": {
        "network": Network(head="cosine"),
        "loss": Loss(alignment=0.1, uniformity=0.5),
        "augment": Augment(mixup=1.0),
    },
}


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("name", STEPS)
def test_a_whole_step_waits_for_its_loss_alone(monkeypatch, name):
    """The loss is read by an event, here by nobody."""
    monkeypatch.setattr(trainer, "read_later", lambda value: lambda: [torch.tensor(0.5)])
    monkeypatch.setattr(devices, "_has_bfloat16", lambda: True)
    monkeypatch.setattr(Trainer, "_build_network", build_there)
    trained, batch = start_training(**STEPS[name])

    def descend(self):
        """torch's own way back asks a real device."""
        for parameter in trained.network.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", descend)
    calls = count_calls(lambda: trained.advance(replace(batch, first_draw=trained.step * ROWS)))
    assert trained.step == 2
    assert not calls.waits


def build_there(self):
    """Made on the device: what pretends cannot be moved."""
    with CUDA:
        return build_network(self.settings)


def start_training(**changes):
    """A trainer on the device, and a batch of it."""
    settings = make_settings(**{"schedule": Schedule(epochs=1, batch_size=ROWS), **changes})
    settings = settings.model_copy(update={"ema": Ema()})  # a copy of what pretends cannot be made
    labels = np.arange(ROWS) % 2
    rows = LearnRows(0, np.arange(ROWS), "")
    table = pd.DataFrame(
        {"label": labels, "weight": 1.0, "draw_weight": 1.0, "fold": 0, "face": ""}
    )
    manifest = Manifest("train", table, digest="")
    loader = BatchLoader(TrainingTask(settings, None, manifest, rows, 0), Processes(CUDA))
    batch = TrainBatch(
        make_pixels(), torch.ones(ROWS, device=CUDA), labels, rows.row_ids, 0, labels
    )
    return Trainer(loader), batch
