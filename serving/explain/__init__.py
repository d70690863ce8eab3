"""Command `explain`: the evidence sheet of one picture."""
