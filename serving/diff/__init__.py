"""Command `diff`: where two bundles disagree about the same pictures."""
