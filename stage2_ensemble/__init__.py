"""Stage 2: combines the dumps into final labels, and measures them."""

import features  # noqa: F401 (says how threads wait, before numpy and LightGBM load)
