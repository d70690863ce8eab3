"""All of `params.yaml` at once."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from features.runtime.budget import Budget
from features.runtime.cluster import DaskCluster, Scans
from features.settings.compare import Compare
from features.settings.data import Data, PrepareParams
from features.settings.demo import DemoSection
from features.settings.images import ImagesSection
from features.settings.members import Outside, find_member_problems
from features.settings.perturb import PerturbSection, find_tier_problems
from features.settings.report import Report
from features.settings.scoring import DumpParams
from features.settings.sections import Place, validate_params
from features.settings.stacking import Decision, Gate, Label, Stack
from features.settings.training import Backbone, BackboneName, TrainParams


class AllParams(TrainParams, PrepareParams, DumpParams, extra="forbid"):
    """Every section that any stage reads, checked at once before any work.

    All must stand in the file, because DVC tracks them. No stage reads `compare`, so here its form
    alone counts: whether it fits the networks is for who compares.
    """

    data: Data  # type: ignore[assignment]  # the whole section, not the root alone
    images: ImagesSection
    backbones: dict[BackboneName, Backbone]  # none where all members are from outside
    outside: Outside
    demo: DemoSection
    perturb: PerturbSection
    stack: Stack
    gate: Gate
    decision: Decision
    label: Label
    report: Report
    compare: Compare = Compare()
    budget: Budget = Budget()
    scans: Scans = Scans()
    dask: DaskCluster = DaskCluster()
    resume_dir: Place = ".resume"

    @model_validator(mode="after")
    def _check_dump(self) -> Self:
        modes = {name: self.resolve_backbone(name).images.mode for name in self.backbones}
        if problems := self.dump.find_problems(self.images.size, modes):
            raise ValueError("\n".join(problems))  # one problem a line
        return self

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        problems = find_member_problems(self.backbones, self.outside)
        if self.backbones and not self.data.has_pictures:
            problems.append("backbones: there are no pictures to train on (data.train.images)")
        members = (self.backbones, self.outside)
        problems += find_tier_problems(self.decision.tiers, self.perturb, *members)
        if problems:
            raise ValueError("\n".join(problems))
        return self


def check_all_params(values: Mapping[str, Any], source: str = "params.yaml") -> AllParams:
    """`values` as settings of all stages; raises `ConfigError` with every problem of the file."""
    return validate_params(AllParams, values, source)
