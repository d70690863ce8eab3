"""What members say, as columns that a model may see."""
