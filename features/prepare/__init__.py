"""Stage `prepare`: lists and images into one manifest a role."""
