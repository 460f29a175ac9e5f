"""The sources of sequences: files, data sets of the aeon package, and synthetic data.

All raise `TrainingError` for data that is unreadable or unusable.
"""
