"""The `scae` command: one click command a file, no logic."""
