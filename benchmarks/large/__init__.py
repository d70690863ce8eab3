"""What benchmarks of very many rows share: made rows, a second stage, what memory they take."""
