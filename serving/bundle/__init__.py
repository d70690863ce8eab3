"""Command `bundle`: a finished project's ensemble as one folder."""
