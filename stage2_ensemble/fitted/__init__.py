"""The fitted second stage, in memory and on disk."""
