"""Stage 1: networks that learn from images and dump logits and embeddings."""

import os

# Before torch loads OpenMP. Threads that wait by spinning leave a training beside other work on two
# cores 8 to 19 images a second, those that sleep 74 to 98; alone these cost it 6 %.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
