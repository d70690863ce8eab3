"""What `metrics.json` says in words: each finding once, for log, page and terminal."""
