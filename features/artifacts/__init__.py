"""What one stage writes and another reads: one format a file, with its checks."""
