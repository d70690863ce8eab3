"""How a command runs: options, terminal, progress, locks, limits. It changes no result."""
