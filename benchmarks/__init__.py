"""Benchmarks of the service, beside its own limit and beside other servers."""
