"""Pictures that several benchmarks make, and what they measure of them."""
