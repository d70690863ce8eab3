"""Command `push`: a bundle to a hub."""
