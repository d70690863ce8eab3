"""An evidence sheet: all that a bundle can say of one picture, on one page."""
