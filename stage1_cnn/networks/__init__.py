"""Networks of timm: weights, normalised pixels, devices, members on disk."""
