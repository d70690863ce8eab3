"""Squares of pixels to log-odds: members, forensic features and the second stage of a bundle."""
