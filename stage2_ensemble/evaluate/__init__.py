"""Measures members, combiners and what ships on val; nothing is fitted or chosen here."""
