"""How good a member's weights are on the fold that it left out: to look at, never to act on."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from torch import Tensor

from features.core.auc import AucEstimate, Floats, Mask, measure_auc
from features.core.manifest import Ids, Manifest, count_classes
from features.core.number_text import format_figure
from features.errors import NotFiniteError, list_ids
from stage1_cnn.networks.network import build_network
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.engines import TorchEngine, build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import score_rows
from stage1_cnn.train.loop import Trained

Figures = dict[str, float | None]
_log = logging.getLogger("forgerystack")


class UnseenScores(NamedTuple):
    """What some weights say of rows that they have not learned from."""

    log_odds: Floats
    """`(n,)`, as sampling and loss have left them."""
    figures: Figures

    @property
    def finite(self) -> Mask:
        """`(n,)`: which log-odds are numbers."""
        return np.isfinite(self.log_odds)


def judge_unseen(
    trained: Trained,
    task: TrainingTask,
    unseen: Ids,
    processes: Processes,
    engine: TorchEngine | None = None,
) -> dict[str, UnseenScores]:
    """Scores and figures of the last weights (`raw`) and of their average (`ema`) on the rows
    `unseen`.

    They have learned from none of these. Accuracy is that at log-odds of 0. `engine` is one of the
    task's settings that nobody needs any more, such as that of the curve; `None`: a new one. Raises
    `NotFiniteError` where the weights that are kept say no number of any row.
    """
    states: dict[str, Mapping[str, Tensor]] = {"raw": trained.last_state}
    if trained.ema_state is not None:
        states["ema"] = trained.ema_state
    if engine is None:
        network = build_network(task.settings, load=False)
        engine = build_torch_engine(network, task.settings, processes.device)
    found = {}
    for name, state in states.items():
        engine.network.load_state_dict(state)
        title = f"judge {name} weights"
        logits = score_rows(engine, task.store, unseen, processes, title).logits.astype(np.float64)
        found[name] = judge_log_odds(f"{name} weights", task.train, unseen, logits, processes)
    check_kept_scores(found, unseen)
    return found


def judge_log_odds(
    title: str, train: Manifest, rows: Ids, log_odds: Floats, processes: Processes
) -> UnseenScores:
    """Figures of `(n,)` log-odds of `rows` of train, and logs them.

    One that is no number leaves no figure, and a warning: the weights may be good for all else.
    """
    scores = UnseenScores(
        log_odds, measure_figures(train.labels[rows], log_odds, train.groups[rows])
    )
    if scores.finite.all():
        _log.info("%s: %s", title, describe_figures(scores.figures))
    elif processes.is_first:
        bad = list_ids(rows[~scores.finite])
        _log.warning("%s: not judged, log-odds are not finite numbers: rows %s", title, bad)
    return scores


def check_kept_scores(found: Mapping[str, UnseenScores], rows: Ids) -> None:
    """Raises `NotFiniteError` where the weights that are kept, the last ones of `found`, say no
    number of any of `rows`."""
    name, kept = list(found.items())[-1]
    if len(rows) and not kept.finite.any():
        raise NotFiniteError(f"log-odds of the fold left out, by the {name} weights", rows)


def measure_figures(labels: np.ndarray, log_odds: Floats, groups: np.ndarray) -> Figures:
    """AUC with its interval, accuracies at log-odds 0 and log loss of `(n,)` rows.

    All are `None` where a class has no row, or a log-odds is no number.
    """
    # Late: nobody waits a second for it before the first epoch.
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

    figures: Figures = dict.fromkeys(("accuracy", "balanced_accuracy", "log_loss"))
    if not np.isfinite(log_odds).all():
        return {**AucEstimate(None).to_metrics(), **figures}
    if 0 not in count_classes(labels):
        answers = (log_odds > 0).astype(int)
        figures["accuracy"] = float(accuracy_score(labels, answers))
        figures["balanced_accuracy"] = float(balanced_accuracy_score(labels, answers))
        figures["log_loss"] = float(log_loss(labels, expit(log_odds), labels=[0, 1]))
    return {**measure_auc(labels, log_odds, groups).to_metrics(), **figures}


def describe_figures(figures: Figures) -> str:
    """`AUC 0.912 [0.881, 0.936], balanced accuracy 0.840`."""
    if figures["auc"] is None:
        return "a class has no row there"
    auc = AucEstimate.from_metrics(figures).describe()
    return f"AUC {auc}, balanced accuracy {format_figure(figures['balanced_accuracy'])}"
