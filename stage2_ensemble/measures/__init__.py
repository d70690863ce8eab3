"""Metrics, their intervals by resampling groups, reliability, shares."""
