"""Losses of long-tailed training, one a file; each returns one value a sample."""
