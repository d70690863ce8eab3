"""Rows of a store through a network: raw log-odds and embeddings."""

import numpy as np
import torch
from torch import nn

from features.manifest import Ids
from features.store import ImageStore
from stage1_cnn.batches import Normaliser
from stage1_cnn.network import embed

BATCH = 64


@torch.inference_mode()
def score_rows(
    network: nn.Module, normalise: Normaliser, store: ImageStore, row_ids: Ids
) -> tuple[np.ndarray, np.ndarray]:
    """Raw log-odds `(n,)` float32 and embeddings `(n, d)` float16 of rows of the store."""
    logits = np.empty(len(row_ids), np.float32)
    embeddings = None
    for start in range(0, len(row_ids), BATCH):
        rows = slice(start, start + BATCH)
        vectors, scores = embed(network, normalise(store.gather(row_ids[rows])))
        if embeddings is None:
            embeddings = np.empty((len(row_ids), vectors.shape[1]), np.float16)
        # float16 ends at 65,504; a larger activation would turn into infinity.
        embeddings[rows] = vectors.float().clamp(-65_504, 65_504).cpu().numpy()
        logits[rows] = scores.float().cpu().numpy()
    if embeddings is None:
        width = getattr(network, "head_hidden_size", network.num_features)
        embeddings = np.empty((0, width), np.float16)  # type: ignore[arg-type]
    return logits, embeddings
