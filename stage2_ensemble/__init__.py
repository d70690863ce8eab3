"""Stage 2: combines the dumps into final labels, and measures them."""
