"""What a bundle is made of: its files, their sums, and what `bundle.json` says."""
