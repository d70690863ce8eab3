"""One script a question, each side by side with a peer: `python -m benchmarks.NAME [--quick]`."""
