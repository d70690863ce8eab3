"""The command that serves a bundle over HTTP."""
