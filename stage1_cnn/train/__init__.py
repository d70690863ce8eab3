"""Stage `train`: one member, that is one backbone without one fold."""
