"""Why scores come out as they do: what moves them, and what each backbone is worth."""
