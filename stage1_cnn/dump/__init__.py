"""Stage `dump`: what a member says about rows that it did not learn from."""
