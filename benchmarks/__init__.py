"""How fast the service is, beside its own limit and beside what people use today."""
