"""Timing what the product does beside its rivals and its limits."""
