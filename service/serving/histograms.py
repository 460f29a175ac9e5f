"""The bounds of the buckets of histograms: durations, sizes of bodies, sizes of batches."""

from typing import Final

#: Bounds of durations, in seconds. A call of a small model takes 0.1 ms and a request 0.3 ms; 30 s are the default
#: timeout. Each bound is at most 3 times the one before, so a quantile that Prometheus interpolates is at most 3 times
#: too large, and 17 bounds cover all of the range.
SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0
)  # fmt: skip
#: Bounds of the sizes of bodies, in bytes: from one short sequence to twice the default of `--max-body`.
BYTES: Final = (256, 2**10, 4 * 2**10, 16 * 2**10, 64 * 2**10, 256 * 2**10, 2**20, 4 * 2**20, 16 * 2**20, 64 * 2**20)
#: Bounds of the sizes of batches, in sequences: powers of two to the default of `--max-batch`.
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
