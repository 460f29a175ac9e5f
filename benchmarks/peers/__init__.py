"""The servers that the benchmark compares this service with."""
