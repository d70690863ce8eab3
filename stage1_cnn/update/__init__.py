"""Command `update`: what new pictures give the heads of frozen encoders, and what they cost."""
