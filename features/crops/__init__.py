"""Pictures that keep their shape: their cache, their store, and the squares cut out of them."""
