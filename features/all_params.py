"""All of `params.yaml`, checked at once before any work; `inputs` is the only stage that asks."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from features.budget_params import Budget
from features.compare_params import CompareParams
from features.decision_params import Decision, Label
from features.demo_params import DemoSection
from features.dump_params import DumpParams
from features.params import validate_params
from features.perturb_params import PerturbSection
from features.prepare_params import Data, PrepareParams
from features.report_params import Report
from features.stack_params import Gate, Stack


class AllParams(CompareParams, PrepareParams, DumpParams, extra="forbid"):
    """Every section that any stage reads. All must stand in the file, because DVC tracks them."""

    data: Data  # type: ignore[assignment]  # the whole section, not the root alone
    demo: DemoSection
    perturb: PerturbSection
    stack: Stack
    gate: Gate
    decision: Decision
    label: Label
    report: Report
    budget: Budget = Budget()
    resume_dir: str = ".resume"

    @model_validator(mode="after")
    def _check_dump(self) -> Self:
        """In place of the check of `DumpParams`, which knows of no backbones."""
        if problems := self.dump.find_problems(self.images.size, self.backbones):
            raise ValueError("\n".join(problems))  # one problem a line
        return self


def check_all_params(values: Mapping[str, Any], source: str = "params.yaml") -> AllParams:
    """`values` as settings of all stages; raises `ConfigError` with every problem of the file."""
    return validate_params(AllParams, values, source)
