"""Candidates, the gate between them, and the ensemble that ships."""
