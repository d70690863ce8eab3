"""Command `train_all`: members that are not up to date, one on each GPU, kept for DVC."""
