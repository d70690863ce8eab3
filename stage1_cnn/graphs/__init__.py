"""Networks as ONNX graphs: from bytes of pixels to log-odds and embeddings."""
