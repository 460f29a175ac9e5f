"""The sources of sequences: files, data sets of the aeon package, and synthetic data."""
