"""Command `verify`: is a bundle what was written, and does it score here as it did there?"""
