"""Which weights of a network learn: all, its head, norms, low-rank updates."""
