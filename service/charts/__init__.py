"""Charts of versions, as SVG and PNG: the one way to draw in Python."""
