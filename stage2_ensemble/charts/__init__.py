"""Figures of a run, each from tables alone."""
