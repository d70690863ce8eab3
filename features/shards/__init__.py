"""Shards: tar archives and Parquet tables that hold many pictures, each of which has an address."""
