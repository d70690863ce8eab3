"""A member with a frozen encoder: no training, but a head fitted on embeddings."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from features.core.manifest import Ids, LearnRows, Manifest
from features.errors import NotFiniteError
from features.pixels.store import ImageStore
from features.settings.images import Images
from features.settings.scoring import Scoring
from features.settings.training import MemberSettings
from stage1_cnn.frozen.cache import embed_rows
from stage1_cnn.frozen.embedded import Embedded, Singles
from stage1_cnn.frozen.encoding import Encoding, digest_weights, identify_encoder
from stage1_cnn.frozen.head import FittedHead, fit_head
from stage1_cnn.frozen.shared_look import choose_companions, open_shared_look
from stage1_cnn.networks.frozen_network import FrozenNetwork, set_head
from stage1_cnn.networks.network import build_network
from stage1_cnn.runtime.session import Sessions
from stage1_cnn.sampling.loader import list_candidates
from stage1_cnn.sampling.samplers import weigh_draws
from stage1_cnn.sampling.training_task import TrainingTask
from stage1_cnn.train.fold_metrics import UnseenScores, check_kept_scores, judge_log_odds
from stage1_cnn.train.loop import Trained
from stage1_cnn.tuning.learned import count_frozen

_log = logging.getLogger("forgerystack")


@dataclass(frozen=True)
class EmbeddedTrain:
    """An encoder, and the embeddings that it gives the rows of train."""

    network: FrozenNetwork
    encoder: str
    """As of `identify_encoder`."""
    rows: Embedded


def embed_train(
    settings: MemberSettings,
    store: ImageStore,
    train: Manifest,
    images: Images,
    sessions: Sessions,
    others: Iterable[MemberSettings] = (),
) -> EmbeddedTrain:
    """Computes what is not there yet, for those of `others`, too, that read the same encoder.

    `others`: as `params.yaml` has them. Raises `Stopped`, with all that was computed kept; signals
    are noted only, until somebody calls `stop_at_once` again.
    """
    network = build_network(settings)
    assert isinstance(network, FrozenNetwork)
    encoder = identify_encoder(digest_weights(network.encoder), settings)
    encoding = Encoding(settings, encoder, Scoring(), images)
    companions = choose_companions(settings, others)
    look = open_shared_look(encoding, network, sessions.processes, companions)
    sessions.interruption.note_signals()
    embedded = embed_rows(look, train, store, sessions.interruption)
    return EmbeddedTrain(network, encoder, embedded)


def fit_rows(
    settings: MemberSettings, train: Manifest, rows: LearnRows, embedded: Embedded, seed: int
) -> FittedHead:
    """The head that knows `rows`, weighed as `sampling` would draw them.

    Raises `NotFiniteError`, `ConfigError`, `ManifestError`.
    """
    began = time.perf_counter()
    candidates = list_candidates(train, rows, settings.sampling)
    masses = weigh_draws(candidates, settings.sampling) * train.weights[rows.row_ids]
    known = _average_finite(embedded, rows.row_ids, settings)
    labels, groups = train.labels[rows.row_ids], train.groups[rows.row_ids]
    fitted = fit_head(known, labels, masses, groups, seed)
    _log.info(
        "head of %d weights on %d rows in %.1f s, C = %g",
        fitted.parameters, len(known), time.perf_counter() - began, fitted.strength,
    )  # fmt: skip
    return fitted


def fit_member(
    task: TrainingTask,
    unseen: Ids,
    images: Images,
    sessions: Sessions,
    others: Iterable[MemberSettings] = (),
) -> tuple[Trained, dict[str, UnseenScores]]:
    """The encoder under a head that knows `task.rows`, and what it says of the rows `unseen`.

    `others`: as of `embed_train`. Raises `Stopped`, with the embeddings that were computed kept,
    and as `fit_rows`, `check_kept_scores`.
    """
    start, settings, train = time.perf_counter(), task.settings, task.train
    embedded = embed_train(settings, task.store, train, images, sessions, others)
    sessions.interruption.stop_at_once()
    head = fit_rows(settings, train, task.rows, embedded.rows, task.seed).head
    network = embedded.network
    set_head(network, torch.from_numpy(head.weight), head.bias)
    log_odds = head.score(embedded.rows.average(unseen)).astype(np.float64)
    title = "fold left out"
    judged = {"raw": judge_log_odds(title, train, unseen, log_odds, sessions.processes)}
    check_kept_scores(judged, unseen)
    state = {name: value.cpu() for name, value in network.state_dict().items()}
    count = len(task.rows.row_ids)
    trained = Trained(
        last_state=state,
        ema_state=None,
        parameters=count_frozen(network, settings),
        seconds=time.perf_counter() - start,
        images=count,
        total=count,
        encoder=embedded.encoder,
    )
    return trained, judged


def _average_finite(embedded: Embedded, row_ids: Ids, settings: MemberSettings) -> Singles:
    """Embeddings of these rows. Raises `NotFiniteError`."""
    found = embedded.average(row_ids)
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise NotFiniteError(f"embeddings by {settings.model}", row_ids[~finite])
    return found
