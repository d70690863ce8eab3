"""Which rows stay together, and how they are dealt out: groups, folds, hashes of names."""
