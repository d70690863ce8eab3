"""When cheap networks are certain enough to answer alone, found on rows none of them learned from."""
