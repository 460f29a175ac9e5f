"""Tables of any kind to sequences: CSV and Parquet files, and frames in memory. DuckDB reads and sorts them."""
