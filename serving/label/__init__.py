"""Command `label`: a bundle's answer about any pictures."""
