"""The languages of the page."""

import re
from typing import Final

#: The first one is for clients that prefer none of them.
LANGUAGES: Final = ("en", "ko")
#: A language tag of `Accept-Language` without its subtags, and its weight: RFC 9110, section 12.5.4.
PREFERENCE: Final = re.compile(r"([a-z]+)[a-z0-9-]*\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?))?", re.IGNORECASE)


def preferred(header: str) -> str:
    """Return the language that a header `Accept-Language` prefers: of equals the first in the header."""
    found = (PREFERENCE.fullmatch(part.strip()) for part in header.split(","))
    weights = [(float(one[2] or 1), one[1].lower()) for one in found if one]
    known = [(weight, language) for weight, language in weights if language in LANGUAGES and weight > 0]
    return max(known, key=lambda one: one[0], default=(0.0, LANGUAGES[0]))[1]
