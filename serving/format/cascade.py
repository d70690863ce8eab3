"""`cascade.json`: when the cheap networks alone may answer, and what that loses.

A rule asks the first networks in `order`; where the mean of their log-odds, calibrated as one, is
at least `margin` away from the threshold, that is the answer, and the others are not asked.
"""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import Field

from features.settings.sections import Section
from serving.format.facts import RateFacts

CASCADE = "cascade.json"
LEAST_SAVING = 1.2
"""A rule that saves less is not worth a loss that nobody sees."""
JOINED = "+"
"""Between the names of backbones that are one network."""


class CascadeStep(Section):
    """The first networks of `order`, as one scorer."""

    backbones: tuple[str, ...]
    calibration: dict[str, Any]
    """Of the mean of their calibrated log-odds: `decisions.calibration.Calibration.to_json`."""


class CascadeRule(Section):
    """What one margin does on rows that no network learned from."""

    step: int
    """Which of the steps decides."""
    margin: float
    """Of log-odds at the class shares of train, from the threshold of what ships."""
    stopped: float
    """Share of rows that it decides."""
    saving: float
    """Operations of all networks over those that are left."""
    auc_loss: RateFacts
    """What the AUC loses, with the 95 % interval by bootstrap of groups."""
    accuracy_loss: RateFacts
    """The same of the balanced accuracy at the threshold."""
    val_auc_loss: RateFacts | None = None
    """What came of it on val, where nothing was chosen; `None` where there is none."""
    val_accuracy_loss: RateFacts | None = None

    @property
    def promised_loss(self) -> float:
        """What neither loses more than: the higher of both upper bounds."""
        highs = [loss.high for loss in (self.auc_loss, self.accuracy_loss)]
        assert None not in highs
        return max(0.0, *(high for high in highs if high is not None))

    @property
    def val_loss(self) -> float | None:
        """The larger of both losses on val."""
        if self.val_auc_loss is None or self.val_accuracy_loss is None:
            return None
        return max(self.val_auc_loss.value, self.val_accuracy_loss.value)


class CascadeFacts(Section):
    """The whole of `cascade.json`."""

    reason: str = ""
    """Why there are no rules, where there are none."""
    rows: int = 0
    """Of train, that no network learned from: those that the second stage's rules stand on."""
    order: tuple[str, ...] = ()
    """Backbones that what ships asks, from the cheapest to the dearest; those that are one network
    stand side by side, and no step parts them."""
    operations: dict[str, int] = Field(default_factory=dict)
    """Multiplications for one picture, over networks and views, by backbone or by all that are one
    network, joined by `JOINED`."""
    steps: tuple[CascadeStep, ...] = ()
    rules: tuple[CascadeRule, ...] = ()
    """By growing saving; none that another one betters in saving and promise."""

    def find_rule(self, max_loss: float) -> CascadeRule | None:
        """That of the largest saving whose promise is within `max_loss`."""
        kept = [r for r in self.rules if r.promised_loss <= max_loss and r.saving >= LEAST_SAVING]
        return max(kept, key=lambda rule: rule.saving, default=None)


def format_loss(loss: float) -> str:
    """Four decimals, rounded up: what is shown can be asked for."""
    return f"{math.ceil(loss * 10**4 - 1e-9) / 10**4:.4f}"


def read_cascade(folder: Path) -> CascadeFacts:
    """That of a bundle whose files were checked."""
    return CascadeFacts.model_validate(json.loads((folder / CASCADE).read_text(encoding="utf-8")))
