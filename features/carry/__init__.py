"""Command `carry`: a project as one file, for the next session."""
