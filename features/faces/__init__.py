"""Faces in pictures: a detector, and the square crops that are made of what it finds."""
