"""When cheap networks are certain enough to answer alone, found on rows that none learned from."""
