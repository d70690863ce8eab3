"""What flows between the stages: manifests, images, splits, dumps and their types."""

import os

# Before numpy, torch and LightGBM load. Threads that wait by spinning take the cores from all other
# work: beside it a training that spins sees 8 to 19 images a second on two cores, one whose threads
# sleep 74 to 98; `stack` takes 25 s in place of 44. Alone, sleeping costs that training 6 %, and
# saves `stack` a quarter of its CPU time.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")  # sleeps after 2¹⁶ cycles, not 2²⁶
