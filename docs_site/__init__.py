"""The site of the documents: pages that are made from the source, and links to files outside `docs/`."""
