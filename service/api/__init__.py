"""The HTTP interface: routes, codecs, error answers and the page."""
