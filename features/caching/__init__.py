"""Folders of caches: an index under a lock, filled on all cores, of use after a kill."""
