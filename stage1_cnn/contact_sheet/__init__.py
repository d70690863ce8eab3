"""Draws train images beside what random changes make of them, with the label the network gets."""
