"""Tables and last lines for the terminal."""
