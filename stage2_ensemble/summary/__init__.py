"""Prints the tables of val metrics and where the final labels are."""
