"""How a training runs: processes, checkpoints, time limits, budget. It changes no result."""
