"""Final labels: every row of the test list exactly once, in its order; and its units."""
