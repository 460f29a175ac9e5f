"""Colours between others."""


def mixed(first: str, second: str, share: float) -> str:
    """Return a colour between two: the first at a share of 0, the second at 1."""
    parts = [[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in (first, second)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*parts, strict=True))
