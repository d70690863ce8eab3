"""Stage 1: networks that learn from images and dump logits and embeddings."""

import features  # noqa: F401 (says how threads wait, before numpy and torch load)
