"""What the epochs of the networks show: captions of the figures of the training."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from features.core.number_text import format_figure, format_percent


def describe_learning(tables: Mapping[str, pd.DataFrame], most: int) -> str:
    """Where the loss and the AUC of each backbone end, of the first `most` backbones."""
    table = tables["learning"]
    last = table.sort_values("epoch").groupby(["backbone", "fold"], sort=False).tail(1)
    parts = []
    for name, own in last.groupby("backbone", sort=False):
        text = f"{name} ends at a loss of {format_figure(own['loss'].mean())}"
        known = own[["raw_auc", "ema_auc"]].dropna(how="all").mean()
        measured = [f"{words} {format_figure(known[key])}" for key, words in
                    (("raw_auc", "last weights"), ("ema_auc", "averaged")) if key in known
                    and np.isfinite(known[key])]  # fmt: skip
        parts.append(text + (f" (AUC, {', '.join(measured)})" if measured else ""))
    shown, more = parts[:most], len(parts) - most
    hidden = f" {more} more are not shown." if more > 0 else ""
    return f"{'; '.join(shown)}. Measured on the fold left out; nothing acts on it.{hidden}"


def describe_sampler(tables: Mapping[str, pd.DataFrame]) -> str:
    """What networks saw of either class, and how often the same image."""
    table = tables["sampler"]
    last = table.sort_values("epoch").groupby(["backbone", "fold"], sort=False).tail(1)
    worst = last.sort_values("repeats_real_max").iloc[-1]
    low, high = (
        format_percent(share) for share in (last["real_share"].min(), last["real_share"].max())
    )
    return (
        f"{low if low == high else f'{low} to {high}'} of what networks saw was real. By the end "
        f"{worst['backbone']} had seen each of {worst['seen_real']:,.0f} reals "
        f"{worst['repeats_real_mean']:.1f} times, and each of {worst['seen_fake']:,.0f} fakes "
        f"{worst['repeats_fake_mean']:.1f} times."
    )
