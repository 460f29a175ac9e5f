"""Train a sequence model with attention, offline, and publish it as a version that the service can serve."""
