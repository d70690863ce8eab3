"""Label files and class folders into rows: what people have, read as it is meant."""
