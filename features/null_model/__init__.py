"""Stage `null_model`: how well all but the picture tells the classes apart."""
