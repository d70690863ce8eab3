"""Command `compare`: which remedy helps, judged on the fold left out."""
