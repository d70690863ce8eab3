"""Checks all of `params.yaml`, and notes what label files, class folders and overrides hold now."""
