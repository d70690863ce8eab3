"""Settings of a comparison: which settings of one backbone, on how many rows, with which seeds."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

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
    LEARNING,
    OF_FROZEN,
    Backbone,
    BackboneName,
    MemberSettings,
    TrainingSections,
    TrainParams,
    find_conflicts,
    find_kind_problems,
    find_size_problems,
    list_unused,
)

Domains = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
    Field(min_length=1),
]
"""Names of generators or sources; one instead of a list is fine."""
VariantName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]


class ComparedBackbone(Backbone):
    """What is changed of the entry of `backbones`: any of its fields, sections field by field."""

    model: str = ""


def _make_default_variants() -> dict[str, ComparedBackbone]:
    return {
        "natural": ComparedBackbone(sampling=Sampling(mode="natural")),
        "balanced": ComparedBackbone(sampling=Sampling(mode="balanced")),
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
    variants: Annotated[dict[VariantName, ComparedBackbone], Field(min_length=1)] = Field(
        default_factory=_make_default_variants
    )
    """The first one is the baseline of the others. Each changes fields of the backbone's entry,
    such as `image_size` or a section."""

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
        # No validation: the checks of the whole file would run again for each variant.
        alone = {name: self._change_entry(name)}
        return self.model_copy(update={"backbones": alone}).resolve_backbone(name)

    def _change_entry(self, name: str) -> Backbone:
        """The entry of `backbones` with what the variant gives set in it, sections field by field;
        what neither gives stays unset."""
        entry, variant = self.backbones[self.compared_backbone], self.compare.variants[name]
        changed: dict[str, Any] = {}
        for key in variant.model_fields_set:
            old, new = getattr(entry, key), getattr(variant, key)
            if isinstance(old, Section) and isinstance(new, Section):
                parts = [section.model_dump(exclude_unset=True) for section in (old, new)]
                new = type(new)(**{**parts[0], **parts[1]})
            changed[key] = new
        return entry.model_copy(update=changed)

    def _find_compare_problems(self) -> list[str]:
        if not self.backbones:  # all members are from outside: there is nothing to train
            return []
        if self.compared_backbone not in self.backbones:
            advice = suggest_name(self.compared_backbone, list(self.backbones))
            return [f"compare.backbone {self.compared_backbone}: unknown{advice}"]
        problems, resolved = [], {}
        for name in self.compare.variants:
            try:
                resolved[name] = self.resolve_variant(name)
            except ValidationError as error:  # fields that are valid alone, not together
                found = describe_problems(TrainingSections, error)
            else:
                found = find_size_problems(resolved[name], self.images)
                found += find_conflicts(resolved[name])
                found += find_kind_problems(self._change_entry(name))
            sampling = self.compare.variants[name].sampling
            if sampling and {"limit_rows", "take"} & sampling.model_fields_set:
                found.append("sampling.limit_rows must be the same for all: use compare.rows")
            problems += [f"compare.variants.{name}: {problem}" for problem in found]
        return problems + self._find_useless(resolved)

    def _find_useless(self, resolved: Mapping[str, MemberSettings]) -> list[str]:
        """Variants of the same settings, which would give the same networks, and settings that the
        kind of a variant's network has no use for."""
        problems, seen = [], dict[str, dict[str, Any]]()
        for name, settings in resolved.items():
            used = _dump_used(settings)
            twin = next((other for other, known in seen.items() if known == used), None)
            seen[name] = used
            found = self._describe_useless(name, twin)
            problems += [f"compare.variants.{name}: {problem}" for problem in found]
        return problems

    def _describe_useless(self, name: str, twin: str | None) -> list[str]:
        """`twin`: an earlier variant that is the same in all that counts."""
        entry, given = self._change_entry(name), self.compare.variants[name].model_fields_set
        what = f"a {entry.kind} network has no use for"
        own, problems = [], []
        for field in list_unused(entry):
            section = field.partition(".")[0]
            if section in given:
                own.append(field)
            else:
                origin = f"backbones.{self.compared_backbone}"
                problems.append(f"{what} {field}, which {origin} sets: set {section} to null here")
        if own:
            rest = f", and all else is that of {twin}: take the variant out" if twin else ""
            varying = f". What may vary: {_VARYING}" if entry.kind == "frozen" else ""
            problems.append(f"{what} {', '.join(own)}{rest or ': take that out'}{varying}")
        elif twin:
            problems.append(f"has the same settings as {twin}")
        return problems


_VARYING = ", ".join(
    [
        *(field for field in Backbone.model_fields if field not in {*LEARNING, "network"}),
        *(f"network.{field}" for field in sorted(OF_FROZEN)),
    ]
)
"""What changes a frozen network or its head."""


def _dump_used(settings: MemberSettings) -> dict[str, Any]:
    """`settings` without what its kind has no use for."""
    if settings.kind == "trained":
        return settings.model_dump()
    unused: Any = dict.fromkeys(LEARNING, True) | {"sampling": {"pairs"}, "network": True}
    network = settings.network.model_dump(include=OF_FROZEN)
    return settings.model_dump(exclude=unused) | {"network": network}
