"""The sections of `params.yaml`, one family a file."""
