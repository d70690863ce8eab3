"""Stage 1: networks that learn from images and dump logits and embeddings."""
