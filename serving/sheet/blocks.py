"""What moved the second stage, block by block of its columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logit

from serving.reading.shown import ShownRows
from serving.scoring.scorer import Scorer
from stage2_ensemble.columns.columns import HeldOutColumns
from stage2_ensemble.explanations.contributions import (
    BACKBONE,
    DISAGREEMENT,
    Contributions,
    explain_model,
    list_blocks,
)
from stage2_ensemble.models.boosted import Boosted
from stage2_ensemble.models.candidates import Pooled


@dataclass(frozen=True)
class BlockShares:
    """`base` and the sum of `blocks` are the log-odds of one row, before calibration."""

    base: float
    blocks: dict[str, float]
    """By name in words, from the largest to the smallest."""


def share_blocks(scorer: Scorer, row: ShownRows) -> BlockShares | None:
    """Of one row; `None` where what ships is no sum over columns."""
    second_stage = scorer.second_stage
    model = second_stage.models[second_stage.shipped]
    columns: Sequence[HeldOutColumns] = scorer.ask_members(row).columns
    is_simple = isinstance(model, Pooled) or (isinstance(model, Boosted) and not model.boosters)
    if is_simple:
        # Its contributions are distances from the mean row: here, half way to one that tells
        # nothing, at the class shares of train.
        silent = float(logit(second_stage.rules.prior.train))
        columns = [_add_silent_row(c, silent) for c in columns]
    found = explain_model(model, columns)
    if found is None:
        return None
    values, base = found.values[0], found.base
    if is_simple:
        base += float(found.values[1].sum())
        values = values - found.values[1]
    return _sum_blocks(Contributions(found.names, values[None], base))


def _add_silent_row(columns: HeldOutColumns, log_odds: float) -> HeldOutColumns:
    twice = columns.take(np.zeros(2, np.int64))
    logits = twice.logits.copy()
    logits[1] = log_odds
    return replace(twice, logits=logits)


def _sum_blocks(found: Contributions) -> BlockShares:
    sums = {
        describe_block(block): float(found.values[0, places].sum())
        for block, places in list_blocks(found.names).items()
    }
    return BlockShares(found.base, dict(sorted(sums.items(), key=lambda item: -abs(item[1]))))


def describe_block(block: str) -> str:
    """`network resnet`, `forensics: spectrum`, `disagreement of networks`."""
    if block.startswith(BACKBONE):
        return f"network {block.removeprefix(BACKBONE)}"
    if block == DISAGREEMENT:
        return "disagreement of networks"
    return block.replace(":", ": ").replace("forensic:", "forensics:")
