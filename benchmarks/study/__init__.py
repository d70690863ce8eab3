"""What `benchmarks.stacker_study` compares: variants of the stacker, on worlds and on projects."""
