"""Fit an attention model offline, judge it on held-out data, and publish it as an artifact for the service."""


class TrainingError(Exception):
    """A training cannot go on: the data, an option or the fit is wrong. The message says what was expected."""
