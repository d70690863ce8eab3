"""Processes that look at pictures, and may die of one."""
