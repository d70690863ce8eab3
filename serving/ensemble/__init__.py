"""The library: pictures in, labels and probabilities out."""
