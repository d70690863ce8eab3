"""Scores of detectors that were trained elsewhere, from tables into what the stack reads."""
