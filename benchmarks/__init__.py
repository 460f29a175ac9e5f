"""Benchmarks of the service, beside its own limit and beside other servers."""

import service  # noqa: F401 - disables ONNX Runtime's telemetry, also of the contestants, which inherit the environment
