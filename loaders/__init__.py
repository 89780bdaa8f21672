"""Filled in when the floor's modules are there."""
