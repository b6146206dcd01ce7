"""The commands of partition-supervisor, a module for each."""
