"""Which candidate ships: out-of-fold scores, differences with intervals, domains left out."""
