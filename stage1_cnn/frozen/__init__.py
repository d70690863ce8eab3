"""Members whose encoder stays as it is: embeddings, computed once, and their heads."""
