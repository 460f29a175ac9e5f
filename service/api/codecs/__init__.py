"""Request bodies to arrays, and arrays to response bodies."""
