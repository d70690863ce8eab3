"""Members whose encoder stays as it is: embeddings, computed once, and heads in closed form."""
