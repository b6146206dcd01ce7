"""Stand-ins for what a test does not want to run: as good as the contract suite proves them to be."""
