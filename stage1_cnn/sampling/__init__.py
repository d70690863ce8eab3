"""Which rows a batch holds."""
