"""What `benchmarks.gpu_check` asks of a device: a module a group, and what they share."""
