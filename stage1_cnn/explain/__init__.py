"""Stage `explain`: where networks look, by Grad-CAM."""
