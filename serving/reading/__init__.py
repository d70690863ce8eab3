"""Pictures from wherever they lie, and into the squares that members see."""
