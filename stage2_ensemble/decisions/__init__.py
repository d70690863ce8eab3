"""Log-odds into probabilities, thresholds and labels."""
