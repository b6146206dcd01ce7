"""Longer storms, with a command of their own: `make storm`."""
