"""Numpy in, numpy out: versions on disk, the engines that run them and the batcher that feeds the engines."""
