"""How good a member's weights are on the fold that it left out: to look at, never to act on."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from torch import Tensor

from features.core.auc import AucEstimate, Floats, measure_auc
from features.core.manifest import Ids, count_classes
from features.core.number_text import format_figure
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
    task's settings that nobody needs any more, such as that of the curve; `None`: a new one.
    """
    states: dict[str, Mapping[str, Tensor]] = {"raw": trained.last_state}
    if trained.ema_state is not None:
        states["ema"] = trained.ema_state
    if engine is None:
        network = build_network(task.settings, load=False)
        engine = build_torch_engine(network, task.settings, processes.device)
    labels, groups, found = task.train.labels[unseen], task.train.groups[unseen], {}
    for name, state in states.items():
        engine.network.load_state_dict(state)
        title = f"judge {name} weights"
        logits = score_rows(engine, task.store, unseen, processes, title).logits.astype(np.float64)
        found[name] = UnseenScores(logits, measure_figures(labels, logits, groups))
        _log.info("%s weights: %s", name, describe_figures(found[name].figures))
    return found


def measure_figures(labels: np.ndarray, log_odds: Floats, groups: np.ndarray) -> Figures:
    """AUC with its interval, accuracies at log-odds 0 and log loss of `(n,)` rows.

    All are `None` where a class has no row.
    """
    # Late: nobody waits a second for it before the first epoch.
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

    figures: Figures = dict.fromkeys(("accuracy", "balanced_accuracy", "log_loss"))
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
