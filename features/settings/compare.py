"""Settings of a comparison: which settings of one backbone, on how many rows, with which seeds."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from features.settings.learning import Sampling
from features.settings.sections import Section, describe_problems, suggest_name
from features.settings.training import (
    Backbone,
    BackboneName,
    MemberSettings,
    Overrides,
    TrainingSections,
    TrainParams,
    find_conflicts,
    find_kind_problems,
)

Domains = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
    Field(min_length=1),
]
"""Names of generators or sources; one instead of a list is fine."""
VariantName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]


def _make_default_variants() -> dict[str, Overrides]:
    return {
        "natural": Overrides(sampling=Sampling(mode="natural")),
        "balanced": Overrides(sampling=Sampling(mode="balanced")),
    }


class Compare(Section):
    """The section `compare`: rows × seeds × variants are trained, one network each."""

    backbone: BackboneName | None = None
    """An entry of `backbones`; null: the first one."""
    fold: NonNegativeInt = 0
    """Nobody learns from this fold; all are judged on it."""
    hold_out: dict[Literal["generator", "source"], Domains] = Field(default_factory=dict)
    """Domains that nobody learns from either: all are judged on what the fold holds of them, and on
    its rows of a class that they lack."""
    rows: Annotated[tuple[PositiveInt | None, ...], Field(min_length=1)] = (None,)
    """Rows to learn from; null: all but those of `fold`, or what `sampling.limit_rows` leaves."""
    take: Literal["random", "first"] = "random"
    """`random`: a draw by `seed`, larger ones holding the smaller ones. `first`: in the order of
    the label file."""
    seeds: PositiveInt = 3
    """Trainings of each variant; an interval needs 2."""
    variants: Annotated[dict[VariantName, Overrides], Field(min_length=1)] = Field(
        default_factory=_make_default_variants
    )
    """The first one is the baseline of the others. Each overrides fields of the backbone's."""

    @model_validator(mode="after")
    def _check_rows(self) -> Self:
        if len(set(self.rows)) < len(self.rows):
            raise ValueError("rows names a number twice")
        return self


class CompareParams(TrainParams):
    """What `compare` reads."""

    compare: Compare = Compare()

    @model_validator(mode="after")
    def _check_backbones(self) -> Self:
        """In place of the check of `TrainParams`, so that both kinds of problems come together."""
        problems = [p for name in self.backbones for p in self._find_problems(name)]
        if "compare" in self.model_fields_set:
            problems += self._find_compare_problems()
        if problems:
            raise ValueError("\n".join(problems))  # one problem a line
        return self

    @property
    def compared_backbone(self) -> str:
        """Name of the backbone that is trained."""
        return self.compare.backbone or next(iter(self.backbones))

    def resolve_variant(self, name: str) -> MemberSettings:
        """Settings of one variant: global sections, the backbone's overrides, then its own."""
        entry = self.backbones[self.compared_backbone]
        merged = _merge_overrides(entry, self.compare.variants[name])
        # No validation: the checks of the whole file would run again for each variant.
        return self.model_copy(update={"backbones": {name: merged}}).resolve_backbone(name)

    def _find_compare_problems(self) -> list[str]:
        if not self.backbones:  # all members are from outside: there is nothing to train
            return []
        if self.compared_backbone not in self.backbones:
            advice = suggest_name(self.compared_backbone, list(self.backbones))
            return [f"compare.backbone {self.compared_backbone}: unknown{advice}"]
        entry = self.backbones[self.compared_backbone]
        problems, resolved = [], {}
        for name in self.compare.variants:
            try:
                resolved[name] = self.resolve_variant(name)
            except ValidationError as error:  # fields that are valid alone, not together
                found = describe_problems(TrainingSections, error)
            else:
                found = find_conflicts(resolved[name])
                found += find_kind_problems(_merge_overrides(entry, self.compare.variants[name]))
            sampling = self.compare.variants[name].sampling
            if sampling and {"limit_rows", "take"} & sampling.model_fields_set:
                found.append("sampling.limit_rows must be the same for all: use compare.rows")
            problems += [f"compare.variants.{name}: {problem}" for problem in found]
        return problems + _find_twins(resolved)


def _merge_overrides(entry: Backbone, variant: Overrides) -> Backbone:
    """`entry` with the fields that `variant` gives set in it; unset fields stay unset."""
    changed: dict[str, Section] = {}
    for key in TrainingSections.model_fields:
        old, new = getattr(entry, key), getattr(variant, key)
        if new is not None:
            given = old.model_dump(exclude_unset=True) if old is not None else {}
            changed[key] = type(new)(**{**given, **new.model_dump(exclude_unset=True)})
    return entry.model_copy(update=changed)


def _find_twins(resolved: Mapping[str, MemberSettings]) -> list[str]:
    """Variants of the same settings: the same seeds would give the same networks."""
    problems, seen = [], list[str]()
    for name, settings in resolved.items():
        twin = next((other for other in seen if resolved[other] == settings), None)
        if twin:
            problems.append(f"compare.variants.{name}: has the same settings as {twin}")
        seen.append(name)
    return problems
