"""Settings of `perturb`: which rows, and what is done to their pictures, how strongly."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, field_validator, model_validator

from features.settings.members import ActiveFolds
from features.settings.scoring import DumpParams
from features.settings.sections import Section, Seed, StageParams, suggest_name

Share = Annotated[float, Field(gt=0, le=1)]
TierName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
WEB_TIERS = {"web": {"side": 768, "jpeg": 60}, "hard": {"side": 512, "noise": 6.0, "jpeg": 40}}


class Tier(Section):
    """How files come back from the web: made smaller, noisy, saved as JPEG, in this order."""

    side: Annotated[int, Field(ge=16)] | None = None
    """Longest side in pixels; smaller files keep theirs."""
    noise: Annotated[float, Field(ge=0, le=128)] = 0.0
    """Standard deviation in grey levels of 255."""
    jpeg: Annotated[int, Field(ge=1, le=100)] | None = None
    """Quality of libjpeg, with chroma at half the resolution."""

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.side is None and self.jpeg is None and not self.noise:
            raise ValueError("it changes nothing; pictures as they are always stand beside")
        return self


Tiers = dict[TierName, Tier]
PERTURBATIONS = ("jpeg", "blur", "noise", "rescale", "crop", "brightness")
"""Fields of `PerturbSection` with strengths."""
TAKEN = ("clean", *PERTURBATIONS)
"""Names that no tier may have: the first one is that of pictures as they are."""


def list_web_tiers() -> Tiers:
    """`web` and `hard`."""
    return {name: Tier.model_validate(values) for name, values in WEB_TIERS.items()}


class TierSection(Section):
    """Which rows are shown to members, and the tiers that their files come back in."""

    rows: NonNegativeInt | Literal["all"] = 300
    """Val rows that are scored, half of them fakes as far as there are; 0: nothing is done. For
    `decision.tiers` as many rows of each fold, and as many calibration rows."""
    tiers: Tiers = Field(default_factory=list_web_tiers)
    """By name. Robust AUC is the mean over `clean`, which stands for itself, and these."""

    @field_validator("tiers")
    @classmethod
    def _check_names(cls, tiers: Tiers) -> Tiers:
        if taken := [name for name in tiers if name in TAKEN]:
            raise ValueError(f"{', '.join(taken)}: this name stands for something else")
        return tiers

    @field_validator("rows")
    @classmethod
    def _check_rows(cls, rows: int | str) -> int | str:
        if rows == 1:
            raise ValueError("one row is of one class alone; at least 2, or 0")
        return rows


class PerturbSection(TierSection):
    """What is done to pictures: tiers to files, perturbations to the squares of `images.size`, for
    backbones of other modes to files as well, before anything is cut out of them.

    Perturbations stand by name, each with its strengths in units that mean the same at any image
    size; an empty list leaves one out.
    """

    jpeg: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (90, 75, 50)
    """Saved as JPEG: qualities of libjpeg, with chroma at half the resolution, as Pillow saves."""
    blur: tuple[Annotated[float, Field(gt=0, le=0.1)], ...] = (0.005, 0.01)
    """Gaussian: standard deviations as shares of the side (0.01 of 256 pixels: 2.56 pixels), of a
    file of its longest one."""
    noise: tuple[PositiveFloat, ...] = (3.0, 8.0)
    """Gaussian, of each pixel and colour by itself: standard deviations in grey levels of 255."""
    rescale: tuple[Share, ...] = (0.75, 0.5)
    """Made smaller by this factor of the side, and large again."""
    crop: tuple[Share, ...] = (0.8,)
    """The centre alone: shares of the side that are kept, resized to the whole."""
    brightness: tuple[PositiveFloat, ...] = (0.7, 1.3)
    """Every value times this factor."""

    @field_validator(*PERTURBATIONS)
    @classmethod
    def _check_repeated(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a strength stands there twice")
        return values

    @property
    def strengths(self) -> dict[str, tuple[float, ...]]:
        """By perturbation, in the order of the fields."""
        return {name: tuple(map(float, getattr(self, name))) for name in PERTURBATIONS}


class TierSample(TierSection, extra="ignore"):
    """The fields of `perturb` that `tiers` reads."""


class ChosenTiers(StageParams):
    """The field of `decision` that `tiers` reads."""

    tiers: tuple[str, ...]


class ChangedParams(DumpParams):
    """What stages read that show changed pictures to members."""

    seed: Seed
    perturb: TierSection
    folds: ActiveFolds
    backbones: dict[str, object]
    """Only the names count; their settings stand in `member.json`."""
    outside: dict[str, object]
    """Whether there are any counts: what they say of changed pictures is not known."""

    def select_settings(self) -> dict[str, Any]:
        """What results depend on: of backbones the names, whose members hold the rest."""
        values = self.model_dump(exclude={"images"})
        images = self.images.pixel_settings
        return {**values, "images": images, "backbones": list(self.backbones)}


class PerturbParams(ChangedParams):
    """What `perturb` reads."""

    perturb: PerturbSection


class TiersParams(ChangedParams):
    """What `tiers` reads."""

    perturb: TierSample
    decision: ChosenTiers

    @model_validator(mode="after")
    def _check_tiers(self) -> Self:
        members = (self.backbones, self.outside)
        if problems := find_tier_problems(self.decision.tiers, self.perturb, *members):
            raise ValueError("\n".join(problems))  # one problem a line
        return self


def find_tier_problems(
    chosen: Sequence[str],
    section: TierSection,
    backbones: Collection[str],
    outside: Collection[str],
) -> list[str]:
    """Why thresholds cannot be chosen by these tiers."""
    if not chosen:
        return []
    problems = [
        f"decision.tiers: {name}: perturb.tiers has none of this name"
        f"{suggest_name(name, list(section.tiers))}"
        for name in chosen
        if name not in section.tiers
    ]
    if not section.rows:
        problems.append("decision.tiers: perturb.rows is 0, so there are no rows to choose on")
    if outside or not backbones:
        problems.append(
            "decision.tiers: detectors from outside cannot be asked about changed pictures"
        )
    return problems
