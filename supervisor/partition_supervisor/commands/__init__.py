"""One module for each command, imported when the command is used.

A command reads options, asks `admin`, `assembly` or `dev`, and prints. Nothing imports this room but `cli`.
"""
