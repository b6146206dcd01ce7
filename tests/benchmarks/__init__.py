"""Measured beside its rivals: `make bench`."""
