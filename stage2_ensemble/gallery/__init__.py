"""Stage `gallery`: rows of val that a person should look at."""
