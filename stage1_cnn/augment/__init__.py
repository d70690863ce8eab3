"""Random changes of the pictures that a network learns from."""
