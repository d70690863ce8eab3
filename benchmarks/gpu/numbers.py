"""Networks, augmentation, perturbations and normalising: the numbers of a CPU.

Embeddings in float32 are off by 1e-4 of their length at most; TF32 in its place, which keeps 10 of
its 23 bits, would be off by 6e-4 and more. In half precision they may be off by `HALF_LIMIT` times
what a CPU's are: 5e-3 for most networks in bfloat16, 0.2 for an untrained EfficientNet. Pixels are
the same, or next to none of them is off by one. A row alone is as it is with others beside it.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.gpu.report import CPU, Report, measure_error
from benchmarks.gpu.sides import choose_settings
from benchmarks.gpu.tasks import make_pictures
from features.settings.learning import Augment, Network
from features.settings.perturb import PerturbSection
from stage1_cnn.augment.augmenter import Augmenter
from stage1_cnn.augment.mixing import mix_batch
from stage1_cnn.networks.devices import fixed_algorithms
from stage1_cnn.networks.network import build_network
from stage1_cnn.networks.normalise import Normaliser
from stage1_cnn.perturb.variants import list_variants, perturb_pixels
from stage1_cnn.scoring.engines import build_torch_engine

SIDE = 256
PRECISIONS = ("float32", "bfloat16", "float16")
FLOAT32_LIMIT = 1e-4
HALF_LIMIT = 3.0
"""Times the error of a CPU in the same precision."""
NETWORKS = {
    "resnet50": "rgb",
    "tf_efficientnet_b4": "rgb",
    "resnet26": "rgb+srm",
    "convnext_tiny": "rgb",
    "resnet18": "srm",
}
"""And what they see; the last two are left out where there is little time."""
SMALL_NETWORKS = {"test_resnet": "rgb", "test_efficientnet_gn": "rgb+srm"}
EXACT = ("hflip", "vflip", "rotate90", "noise", "jpeg", "cutout")
ROUNDED = ("colour", "rescale", "blur", "crop", "self_blend")
PRODUCTS = ("rescale", "crop", "self_blend")
"""Matrix products on a GPU, whose rounding may depend on the number of rows."""
EXACT_PERTURBATIONS = ("clean", "jpeg", "noise")


def check(report: Report) -> None:
    """All of it. cuDNN tries nothing out: results are those of the algorithms that dumps have."""
    side = 64 if report.small else SIDE
    pixels = make_pictures(8 if report.small else 16 if report.quick else 32, side)
    with fixed_algorithms():
        with report.part("float32"):
            check_float32(report)
        for model, seen in choose_networks(report).items():
            with report.part(f"network.{model}"):
                compare_network(report, model, seen, pixels[:8])
        for name in (*EXACT, *ROUNDED):
            with report.part(f"augment.{name}"):
                compare_augment(report, name, pixels)
        compare_perturbations(report, pixels)
        compare_inputs(report, pixels)
        with report.part("mix"):
            compare_mixing(report, pixels)


def choose_networks(report: Report) -> dict[str, str]:
    """Names, and what each sees."""
    if report.small:
        return SMALL_NETWORKS
    return dict(list(NETWORKS.items())[:3]) if report.quick else NETWORKS


def check_float32(report: Report) -> None:
    """A product and a convolution against float64: TF32 would be off by some 3e-4."""
    draws = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=draws) for _ in range(2))
    images, kernels = (torch.randn(size, 64, 9, 9, generator=draws) for size in (8, 32))
    pairs = {
        "product": (a.to(report.device) @ b.to(report.device), a.double() @ b.double()),
        "convolution": (
            conv2d(images.to(report.device), kernels.to(report.device), padding=4),
            conv2d(images.double(), kernels.double(), padding=4),
        ),
    }
    for name, (found, wanted) in pairs.items():
        error = measure_error(found, wanted)
        report.check(f"float32.{name}", error < 1e-5, f"{error:.1e}")


def compare_network(report: Report, model: str, seen: str, pixels: Tensor) -> None:
    """Embeddings of pictures, in each precision against those of a CPU in float32."""
    settings = choose_settings(model, pixels.shape[1], 2)
    settings = settings.model_copy(update={"network": Network(input=seen, precision="float32")})
    torch.manual_seed(0)
    network = build_network(settings)
    plain = build_torch_engine(network, settings, CPU)
    settle_statistics(network, plain.normalise(pixels))
    wanted = plain(pixels)[1]
    for precision in list_precisions(report.device):
        own = settings.model_copy(update={"network": Network(input=seen, precision=precision)})
        found, usual = (
            build_torch_engine(copy.deepcopy(network), own, device)(pixels.to(device))[1]
            for device in (report.device, CPU)
        )
        error, off = measure_error(found, wanted), measure_error(usual, wanted)
        limit = FLOAT32_LIMIT if precision == "float32" else HALF_LIMIT * off
        told = f"{error:.1e}, of a CPU {off:.1e}"
        report.check(f"network.{model}.{precision}", error < limit, told)


def list_precisions(device: torch.device) -> Iterator[str]:
    """Those that the device has."""
    for precision in PRECISIONS:
        can = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
        if precision != "bfloat16" or can:
            yield precision


@torch.no_grad()
def settle_statistics(network: nn.Module, images: Tensor) -> None:
    """Batch norm as after a training: without it the activations of random weights fade away."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None
    network.train()(images)
    network.eval()


def choose_augment(name: str) -> Augment:
    """One operation, on every row."""
    if name == "crop":
        return Augment(hflip=0.0, crop_min_area=0.3)
    return Augment(**{"hflip": 0.0, name: 1.0})


def compare_augment(report: Report, name: str, pixels: Tensor) -> None:
    """An operation on the device and on a CPU; and a row alone, as with others beside it."""
    augmenter = Augmenter(choose_augment(name), pixels.shape[1], seed=0)
    labels = np.zeros(len(pixels), np.int64)
    wanted, _ = augmenter(pixels.clone(), labels, 0)
    there = pixels.to(report.device)
    found, _ = augmenter(there.clone(), labels, 0)
    report_pixels(report, f"augment.{name}", found, wanted, exact=name in EXACT)
    alone, _ = augmenter(there[5:6].clone(), labels[5:6], 5)
    exact = report.small or name not in PRODUCTS
    report_pixels(report, f"augment.{name}.alone", alone, found[5:6].cpu(), exact)


def report_pixels(report: Report, name: str, found: Tensor, wanted: Tensor, exact: bool) -> None:
    """Passes where next to no value is off, and none by more than rounding does."""
    off = (found.cpu().short() - wanted.short()).abs()
    share, far = float((off > 0).float().mean()), float((off > 1).float().mean())
    passed = share == 0 if exact else share < 5e-3 and far < 1e-3
    report.check(name, passed, f"{share:.1e} of values, by {int(off.max())} at most")


def compare_perturbations(report: Report, pixels: Tensor) -> None:
    """All variants that `perturb` has on the device: tiers are done to files."""
    ids = np.arange(len(pixels)) * 1000
    for variant in list_variants(PerturbSection(tiers={})):
        name = f"perturb.{variant.perturbation}.{variant.strength}"
        with report.part(name):
            wanted = perturb_pixels(pixels.clone(), ids, variant)
            found = perturb_pixels(pixels.to(report.device), ids, variant)
            exact = variant.perturbation in EXACT_PERTURBATIONS
            report_pixels(report, name, found, wanted, exact)


def compare_inputs(report: Report, pixels: Tensor) -> None:
    """What networks are given, as stored and resized."""
    stored = pixels.shape[1]
    for seen in ("rgb", "srm", "rgb+srm"):
        for side in (stored, stored * 7 // 8):
            with report.part(f"input.{seen}.{side}"):
                found, wanted = (
                    Normaliser((0.5,) * 3, (0.25,) * 3, side, device, seen)(pixels.to(device))
                    for device in (report.device, CPU)
                )
                error = float((found.cpu() - wanted).abs().max())
                kept = found.is_contiguous(memory_format=torch.channels_last)
                passed = error < 1e-3 and kept
                report.check(f"input.{seen}.{side}", passed, f"{error:.1e}, channels-last {kept}")


def compare_mixing(report: Report, pixels: Tensor) -> None:
    """Images and targets after mixup and CutMix."""
    images = pixels.permute(0, 3, 1, 2).float()
    labels, augment = torch.arange(len(images)) % 2, Augment(mixup=0.5, cutmix=0.5)
    found, wanted = (
        mix_batch(images.to(device, copy=True), labels.to(device), augment, 0, 3)
        for device in (report.device, CPU)
    )
    error = max(float((a.cpu() - b).abs().max()) for a, b in zip(found, wanted, strict=True))
    report.check("mix", error < 1e-3, f"{error:.1e}")
