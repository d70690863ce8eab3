"""Stage `perturb`: val pictures changed, and scored by all members."""
