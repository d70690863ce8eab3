"""Candidates: simple combiners, LightGBM that goes on from the best of them, a forest."""
