"""The form of `metrics.json`."""
