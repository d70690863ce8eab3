"""Learning curves: how well weights do, after each epoch, on the fold that they leave out.

They are for looking at. The training knows neither the rows nor what comes of them.
"""

from collections.abc import Iterator

import numpy as np
from torch import nn

from features.core.auc import Floats
from features.core.manifest import Ids
from stage1_cnn.networks.network import build_network
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.scoring.engines import build_torch_engine
from stage1_cnn.scoring.processes import Processes
from stage1_cnn.scoring.rows import score_batches
from stage1_cnn.train.fold_metrics import Figures, measure_figures
from stage1_cnn.tuning.low_rank import merge_low_rank

KEPT = ("auc", "log_loss")
"""Of the figures on the sample."""


class Curve:
    """Scores weights on a fixed sample of the fold that a training leaves out, with a network of
    its own.

    What learns is only read: its mode, statistics and caches stay as they are, and the random
    numbers too once this is built. Every process has one and asks together with the others.
    """

    def __init__(self, task: TrainingTask, processes: Processes) -> None:
        self._store, self._processes = task.store, processes
        settings, train = task.settings, task.train
        unseen = train.fold_rows(task.rows.fold)
        self._rows = draw_curve_rows(
            train.labels, unseen, settings.schedule.curve_rows, settings.seed
        )
        self._labels, self._groups = train.labels[self._rows], train.groups[self._rows]
        network = build_network(settings, load=False)
        self.engine = build_torch_engine(network, settings, processes.device)
        # As many images as the training takes at once: they fit into its memory.
        schedule = settings.schedule
        self._size = max(processes.world, schedule.batch_size // schedule.accumulate)

    def __call__(self, last: nn.Module, ema: nn.Module | None) -> Figures:
        """`raw_auc`, `raw_log_loss`, and with an average `ema_auc`, `ema_log_loss`.

        They are of raw log-odds, as in `fold_metrics`: `None` where a class has no row, or a
        log-odds is no number.
        """
        found: Figures = {}
        for name, network in (("raw", last), ("ema", ema)):
            if network is None:
                continue
            self.engine.network.load_state_dict(merge_low_rank(network))
            figures = measure_figures(self._labels, self._score(), self._groups)
            found |= {f"{name}_{figure}": figures[figure] for figure in KEPT}
        return found

    def _score(self) -> Floats:
        scored = score_batches(self.engine, self._store, list(self._split_rows()), self._processes)
        parts = [part.logits for part in scored]
        return np.concatenate([np.empty(0, np.float32), *parts]).astype(np.float64)

    def _split_rows(self) -> Iterator[Ids]:
        for start in range(0, len(self._rows), self._size):
            yield self._rows[start : start + self._size]


def build_curve(task: TrainingTask, processes: Processes) -> Curve | None:
    """`None` where `schedule.curve_rows` asks for none.

    To be built before the training, which sets its seed when it begins.
    """
    return Curve(task, processes) if task.settings.schedule.curve_rows else None


def draw_curve_rows(labels: np.ndarray, rows: Ids, count: int, seed: int) -> Ids:
    """Of `rows`, in order, `count` drawn by `seed`: half of each class, rounded up.

    All of a class that has fewer. The same for all backbones, so that their curves compare.
    """
    rng = np.random.default_rng(seed)
    half = -(-count // 2)
    drawn = [rng.permutation(rows[labels[rows] == label])[:half] for label in (0, 1)]
    return np.sort(np.concatenate(drawn))
