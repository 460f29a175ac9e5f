"""The contract between training and serving: the parts of a version, and how it is published and verified."""
