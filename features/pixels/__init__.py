"""Image files into squares of pixels: decoding, thumbnails, the cache, the store."""
