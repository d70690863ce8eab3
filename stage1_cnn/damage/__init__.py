"""What the web does to pictures: one list, for training and for judging."""
