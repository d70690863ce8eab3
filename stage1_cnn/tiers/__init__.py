"""Stage `tiers`: damaged files of train, scored by members that did not learn from them."""
