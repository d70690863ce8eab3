"""`bundle.json`: all that scores depend on besides graphs and the second stage.

Pydantic models that refuse unknown keys: a bundle of a newer project is told by `FORM`.
"""

from collections.abc import Iterable
from typing import Literal

from features.core.members import Correction, MemberId
from features.settings.images import Faces, Images, Limits, Mode
from features.settings.scoring import Tta
from features.settings.sections import Section

FORM = 4
"""Counts up when a bundle changes in a way that older code cannot read."""


class Sight(Section):
    """What a member sees of a picture, besides views."""

    mode: Mode
    side: int
    """Of its squares, in pixels."""
    most: int = 1
    """Squares of a picture at most: more than one of mode `crop` alone."""


class FaceFacts(Faces):
    """Which faces of pictures are rows, and what finds them."""

    file: str
    """ONNX graph, relative to the bundle; its licence lies beside it."""
    source: str
    """Package and version that its weights are of."""
    licence: str
    sha256: str
    """Of the file in that package: the graph here takes pictures of any size."""


class PixelFacts(Section):
    """How files become pixels."""

    size: int
    """Side in pixels of the squares that pictures are stretched to or fitted into: bilinear and
    antialiased."""
    equalize: bool
    """What is cut is saved as a JPEG and decoded again, as that was which was learned from."""
    limits: Limits
    """Files that are refused."""
    faces: FaceFacts | None = None
    """`None`: pictures are rows as a whole."""

    def build_images(self, store_dir: str) -> Images:
        """For the decoder; large pictures wait for each other by a lock in `store_dir`."""
        return Images(size=self.size, equalize=self.equalize, store_dir=store_dir)


class Parity(Section):
    """Largest absolute differences between a member's graph and torch, on so many squares."""

    squares: int
    log_odds: float
    embeddings: float
    agrees: bool
    """Each log-odds is within its limit."""


class MemberFacts(Section):
    """One network = backbone × fold."""

    backbone: str
    fold: int
    model: str
    """timm's name, or that of an ONNX file."""
    kind: Literal["onnx", "torch"]
    """`torch`: ONNX could not hold it, so it is here as safetensors, and needs torch and timm."""
    file: str
    """Relative to the bundle; all members with the same frozen encoder share one."""
    head: int = 0
    """Which column of the file's log-odds is its own."""
    reason: str = ""
    """Why it is no graph."""
    digest: str
    """sha256 of its weights in the project: which network it is."""
    correction: Correction
    """Turns its raw log-odds into log-odds at the class shares of train."""
    sees: Sight
    side: int
    """Of the squares that its network takes; they are resized within the graph."""
    tta: Tta
    """Views of each square whose scores are averaged: `serving.scoring.views`."""
    start: int = 0
    """Where its embedding begins in the embeddings of its file; members that read the same of an
    encoder have one in common."""
    width: int
    """Length of its embedding."""
    parameters: int
    """Of its network, but for a frozen encoder."""
    encoder_parameters: int = 0
    """Of its frozen encoder, which is in its file once, whoever shares it."""
    frozen: bool = False
    """Its encoder is the one of `pretrained`, as it was: its head alone was learned."""
    operations: int
    """Multiplications and additions of its file for one picture, over all views; of crops, for as
    many as checked pictures have on average."""
    pretrained: str
    """Where its training began: a name, a file, or empty where it began at random."""
    licence: str
    """Of the pretrained weights, as timm names it; empty where it is not known, or there are
    none."""
    parity: Parity | None
    """`None` for a member that is no graph."""

    @property
    def name(self) -> str:
        """`<backbone>-<fold>`."""
        return f"{self.backbone}-{self.fold}"

    @property
    def span(self) -> slice:
        """Its columns of the embeddings of its file."""
        return slice(self.start, self.start + self.width)

    def identify(self, train_digest: str) -> MemberId:
        """As dumps name it."""
        return MemberId(self.backbone, self.fold, self.digest, train_digest, self.correction)


def group_by_file(members: Iterable[MemberFacts]) -> dict[str, list[MemberFacts]]:
    """By file those that share it, in their order."""
    groups: dict[str, list[MemberFacts]] = {}
    for facts in members:
        groups.setdefault(facts.file, []).append(facts)
    return groups


def list_networks(members: Iterable[MemberFacts]) -> tuple[MemberFacts, ...]:
    """One member of each file, in their order."""
    return tuple(group[0] for group in group_by_file(members).values())


class Sample(Section):
    """A picture that travels along, and what the project says of it."""

    name: str
    """As in the project's lists."""
    file: str
    label: Literal["real", "fake", ""]
    """What it is; empty where the lists do not say."""
    log_odds: float
    """Of what ships, read by its rules, from members in torch."""


class RateFacts(Section):
    """A share of rows with its 95 % interval, where there are rows enough for one."""

    value: float
    low: float | None
    high: float | None

    def invert(self) -> "RateFacts":
        """The share of all other rows."""
        low, high = (None if bound is None else 1 - bound for bound in (self.high, self.low))
        return RateFacts(value=1 - self.value, low=low, high=high)


class ValRates(Section):
    """What the bundle's rules did on val, where nothing was fitted or chosen."""

    reals: int
    fakes: int
    reals_called_fake: RateFacts
    fakes_called_real: RateFacts
    reals_in_review: RateFacts | None
    """`None` where rules leave nothing to review."""
    fakes_in_review: RateFacts | None


class BundleFacts(Section):
    """The whole of `bundle.json`."""

    form: Literal[4]
    shipped: str
    """The candidate whose labels are given."""
    pixels: PixelFacts
    members: tuple[MemberFacts, ...]
    """By fold, in the order of the second stage's backbones."""
    forensics: tuple[str, ...]
    """Names of the forensic columns that the second stage was fitted with: `forensic:…`."""
    val: ValRates | None = None
    """`None` where the project measured nothing, or has learned from val too."""
    samples: tuple[Sample, ...]
    neighbours: int = 0
    """Pictures of train that travel along as thumbnails: `serving.format.neighbours`."""
    versions: dict[str, str]
    """Of the packages that computed."""
