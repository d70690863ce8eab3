"""Fits the second stage on rows that no member learned from, and chooses what ships."""
