"""Pictures from wherever they lie, and into the rows and squares that members see."""
