"""A cluster on this machine to watch and to break: services, two or more hosts, a steady producer, and a judge.

The demo uses it, and so do the system tests and the benchmarks.
"""
