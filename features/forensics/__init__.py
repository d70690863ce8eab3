"""Stage `forensics`: named columns from the pixels of each image."""
