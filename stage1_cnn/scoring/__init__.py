"""Pixels through a network, in one process or in several."""
