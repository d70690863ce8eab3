"""Command `tune`: a search for settings of the stacker, on half of the fold rows."""
