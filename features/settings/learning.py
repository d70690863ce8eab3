"""Settings of how a network learns, and of the random changes of what it learns from.

Each section is a default that a backbone may override.
"""

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from features.settings.sections import Section

Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Sampling(Section):
    """Which rows a batch is drawn from."""

    mode: Literal["balanced", "natural", "undersample", "weighted"] = "balanced"
    """`natural`: all rows alike. `balanced`: the classes in the ratio `real_per_fake`, an epoch has
    as many draws as there are rows. `undersample`: the same batches, but an epoch ends when the
    class that runs out first has been used up once. `weighted`: in proportion to a weight of each
    row."""
    real_per_fake: PositiveFloat = 1.0
    """Reals drawn for each fake; natural draws and a weight column have their own ratio."""
    pairs: bool = False
    """Fakes and reals of one group come in the same batch, as far as the draws allow: each row is
    drawn as often as without. For `balanced` and `undersample`."""
    weights: Literal["column", "generator"] = "column"
    """For `weighted`. `column`: `data.columns.draw_weight`. `generator`: every generator of a class
    as often as any other one, the classes in the ratio `real_per_fake`."""
    limit_rows: PositiveInt | None = None
    """Learn from so many of the train rows only; null: from all that the member may learn from."""
    take: Literal["random", "first"] = "random"
    """Which ones. `random`: a draw by `seed`, larger ones holding the smaller ones. `first`: in the
    order of the label file."""


LossName = Literal["cross_entropy", "focal", "logit_adjusted", "class_mean"]


class LossKind(NamedTuple):
    """What a kind of loss can be combined with."""

    smooths_labels: bool = True
    """`label_smoothing` has a meaning."""
    weighs_classes: bool = True
    """`class_weight` has a meaning."""
    mixes_labels: bool = True
    """It learns from the labels of mixup and cutmix, fractions of both classes."""
    needs_imbalance: bool = False
    """Where both classes weigh alike it is cross-entropy."""


LOSS_KINDS: dict[LossName, LossKind] = {
    "cross_entropy": LossKind(),
    "focal": LossKind(smooths_labels=False, mixes_labels=False),
    "logit_adjusted": LossKind(needs_imbalance=True),
    "class_mean": LossKind(weighs_classes=False, mixes_labels=False),
}
"""What they compute: `stage1_cnn.losses.registry.LOSSES`, a class for each."""


class Loss(Section):
    """What is minimised, over rows and their weights."""

    kind: LossName = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weight: Literal["none", "balanced", "effective"] | PositiveFloat = "none"
    """`balanced`: both classes weigh the same in train, with their rows' own weights; `effective`:
    by the effective number of images; a number: what a real counts, a fake being 1. The shift of
    the log-odds is undone."""
    effective_beta: Share = 0.9999
    """For `effective`: 1 - 1/(images after which further ones add little)."""
    gamma: NonNegativeFloat = 2.0
    """For `focal`: how much less sure answers count."""
    alpha: Share | None = None
    """For `focal`: weight of fakes, that of reals being 1 - alpha."""
    tau: PositiveFloat = 1.0
    """For `logit_adjusted`: how much of the classes' log-odds is added."""
    alignment: NonNegativeFloat = 0.0
    """What it costs that embeddings of a class lie apart on the unit sphere (Wang and
    Isola, ICML 2020), for `network.head` cosine. GenD (2025): 0.1. Measured among the rows that a
    process computes at once."""
    uniformity: NonNegativeFloat = 0.0
    """What it costs that embeddings of whatever class lie together there. GenD: 0.5."""

    @property
    def sees_embeddings(self) -> bool:
        """Whether more is minimised than a function of the logits."""
        return self.alignment > 0 or self.uniformity > 0

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kind, problems = LOSS_KINDS[self.kind], []
        if self.label_smoothing and not kind.smooths_labels:
            problems.append(f"label_smoothing has no meaning for {self.kind} loss")
        if self.class_weight != "none" and not kind.weighs_classes:
            problems.append(
                f"class_weight changes nothing in {self.kind}, whose classes weigh alike"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


Tune = Literal["all", "head", "norm", "lora"]


class Optimizer(Section):
    """Which weights learn, and how: passed to `timm.optim.create_optimizer_v2`."""

    tune: Tune = "all"
    """What learns beside the head: `all` weights, none (`head`), scales and shifts of norms
    (`norm`), or low-rank updates of weights (`lora`), which are merged in the end. Statistics of
    batch norm go on for `all` and `norm` alone."""
    lora_rank: PositiveInt = 8
    lora_alpha: PositiveFloat = 16.0
    """An update counts alpha / rank."""
    lora_layers: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Patterns of names of linear layers and convolutions, such as `*.mlp.fc1`; null: the linear
    layers of attention, or in networks without it whatever sees one pixel at a time, 1 × 1
    convolutions too."""
    name: str = "adamw"
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of optimisers that have one, such as sgd."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Each layer learns so many times as fast as the one above it."""
    backbone_lr_scale: PositiveFloat = 1.0
    """Learning rate of all but the head, as a multiple of `lr`."""
    frozen_epochs: NonNegativeFloat = 0.0
    """For so many epochs, fewer than there are, only the head learns."""
    clip_grad: PositiveFloat | None = None
    """Largest gradient, in the sense of `clip_mode`."""
    clip_mode: Literal["norm", "value", "agc"] = "norm"


class Schedule(Section):
    """A fixed schedule: linear warm-up, then `decay`. Nothing stops it early."""

    epochs: PositiveInt | None = 5
    """One epoch draws as many images as the member has train rows, or see `sampling.mode`."""
    images: PositiveInt | None = None
    """Or how many images are drawn in all, rounded down to whole batches; then `epochs` is null."""
    warmup_epochs: NonNegativeFloat = 0.5
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Images of one step of the optimiser, over all processes."""
    accumulate: PositiveInt = 1
    """Parts that a batch is computed in, one after the other, where it does not fit into memory.
    The same step, but for batch norm, which sees one part at a time."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls to zero after the warm-up, or that it stays."""
    soup: PositiveInt = 1
    """Trainings from one start, each with draws and changes of pictures of its own, whose weights
    are averaged into one network (Wortsman et al., ICML 2022); 1: one training."""
    max_skipped: NonNegativeInt = 10
    """A step whose loss is no number is left out; more of them in a row stop the training."""
    curve_rows: NonNegativeInt = 500
    """Rows of the fold left out, half of each class, on which last and averaged weights are looked
    at after each epoch, for `history.csv`; 0: none. Nothing that is learned depends on it."""

    def count_steps(self, steps_per_epoch: int, batch_size: int) -> int:
        """Steps of the whole training, at least one."""
        if self.images is not None:
            return max(1, self.images // batch_size)
        assert self.epochs is not None
        return self.epochs * steps_per_epoch


class Ema(Section):
    """Exponential moving average of the weights (`timm.utils.ModelEmaV3`); it is what is kept.

    With neither a half-life nor a decay the last weights are kept.
    """

    half_life_epochs: PositiveFloat | None = None
    """After so many epochs an update counts half; at most a third of `schedule.epochs`."""
    decay: Share | None = None
    """Or the decay of one step, such as 0.9."""
    warmup: bool = True
    """The average starts as that of few steps and becomes longer."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.half_life_epochs is not None and self.decay is not None:
            raise ValueError("half_life_epochs and decay say the same thing: set one to null")
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is an average at all."""
        return self.half_life_epochs is not None or self.decay is not None


class Network(Section):
    """How a network of timm is built."""

    input: Literal["rgb", "srm", "rgb+srm"] = "rgb"
    """What it sees: the picture, its noise under fixed high-pass filters (SRM), or both."""
    head: Literal["linear", "cosine"] = "linear"
    """`cosine`: logits are scaled cosines between the embedding and a direction for each class, so
    the length of the embedding says nothing."""
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Chance that a residual branch is left out (stochastic depth), of the last one."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Chance that an entry of the embedding is left out before the head."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of convolutions and products; `auto`: float32 on a CPU, bfloat16 or float16 on a GPU."""
    compile: bool = False
    """Whether `torch.compile` translates the network first, which takes a minute."""
    checkpointing: bool = False
    """Computes layers again on the way back instead of keeping what they gave: less memory, about
    a third more time, the same weights. Not every network can."""
    sync_bn: bool = True
    """Batch norm over the batches of all GPUs, so that their number changes no result."""


def _check_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]:g} is above the upper one {bounds[1]:g}")
    return bounds


Quality = Annotated[float, Field(ge=1, le=100)]
Sigma = Annotated[float, Field(gt=0, le=10)]
Levels = Annotated[float, Field(gt=0, le=128)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Qualities = Annotated[tuple[Quality, Quality], AfterValidator(_check_order)]
Sigmas = Annotated[tuple[Sigma, Sigma], AfterValidator(_check_order)]
LevelRange = Annotated[tuple[Levels, Levels], AfterValidator(_check_order)]
Fractions = Annotated[tuple[Fraction, Fraction], AfterValidator(_check_order)]


class Augment(Section):
    """Random changes, each with its chance; ranges are drawn from evenly.

    In this order: the web's damage, self-blending, crop, flips and turns, colour, rescaling, blur,
    noise, JPEG, cut-out; mixup or cutmix last, on whole batches. All but the first are done on the
    device.
    """

    web: Probability = 0.0
    """One to four things that happen to pictures on the web, in random order: saved as JPEG once or
    twice, saved as WebP, resized, resized and saved, blurred, noisy, in other colours, framed by a
    screenshot, cut. Of the pixels that are learned from, on the processor's cores."""
    self_blend: Probability = 0.0
    """A real image blended with a changed copy of itself becomes a fake (Shiohara and Yamasaki,
    CVPR 2022). It imitates face swaps."""
    crop_min_area: Fraction = 1.0
    """Random resized crop to at least this share of the area; 1: none."""
    hflip: Probability = 0.5
    vflip: Probability = 0.0
    rotate90: Probability = 0.0
    """A turn by 90, 180 or 270 degrees."""
    colour: Probability = 0.0
    colour_strength: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Brightness, contrast and saturation change by up to this share."""
    rescale: Probability = 0.0
    """Made smaller and large again."""
    rescale_factor: Fractions = (0.4, 0.9)
    blur: Probability = 0.0
    blur_sigma: Sigmas = (0.3, 2.0)
    """Pixels."""
    noise: Probability = 0.0
    noise_std: LevelRange = (1.0, 10.0)
    """Grey levels of 0 … 255."""
    jpeg: Probability = 0.0
    """Saved as a JPEG and read again: 4:4:4 or 4:2:0, each half of the time."""
    jpeg_quality: Qualities = (50.0, 95.0)
    cutout: Probability = 0.0
    """A rectangle turns grey."""
    cutout_area: Fractions = (0.02, 0.2)
    mixup: Probability = 0.0
    """Chance of a batch (timm's `Mixup`)."""
    mixup_alpha: PositiveFloat = 0.2
    cutmix: Probability = 0.0
    """Chance of a batch; at most 1 - `mixup`."""
    cutmix_alpha: PositiveFloat = 1.0

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed, and labels with them."""
        return self.mixup + self.cutmix > 0

    @model_validator(mode="after")
    def _check_mixing(self) -> Self:
        if self.mixup + self.cutmix > 1:
            raise ValueError(f"mixup {self.mixup:g} and cutmix {self.cutmix:g} add up to above 1")
        return self
