"""Stage 2: combines the dumps into final labels, and measures them."""

import os

# Before LightGBM loads OpenMP: threads that wait by spinning take six times the work on a machine
# that has other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
