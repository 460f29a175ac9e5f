"""Scoring in bulk: files of sequences to a data set of predictions, without HTTP. DuckDB and pyarrow read and write."""
