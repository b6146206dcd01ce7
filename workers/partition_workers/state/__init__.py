"""A handler's state: a mapping whose changes are found at each commit, as JSON.

The room imports only `errors` and `model`.
"""
