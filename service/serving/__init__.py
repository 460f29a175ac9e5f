"""The serving core, free of HTTP: which models are loaded, and how requests are run on them."""
