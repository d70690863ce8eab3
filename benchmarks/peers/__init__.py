"""How others train, on the same files."""
