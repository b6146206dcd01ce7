"""Tiny handlers for system tests. Each does one thing."""
