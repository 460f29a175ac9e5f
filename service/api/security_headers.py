"""The headers that tell browsers how little an answer may do."""

from typing import Final

POLICY_HEADER: Final = b"content-security-policy"
#: The policy of all answers but the page, `/docs` and charts: an answer that a browser opens as a document loads
#: nothing, runs no script, has no access to this origin, and is shown in no frame.
POLICY: Final = b"default-src 'none'; sandbox; frame-ancestors 'none'"
#: The policy of charts, whose files may be those of a version: the same, but the styles in the file apply.
CHART_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"

RawHeaders = list[tuple[bytes, bytes]]


def headers_of_answers(*, shared: bool = False) -> RawHeaders:
    """Return the headers of all answers except the policy.

    There is no `Strict-Transport-Security`: browsers would apply it to all services of this host name, on all ports,
    for a long time. A proxy that owns the name can add it.

    Args:
        shared: whether pages of all origins may use the service.
    """
    return [
        # JSON or text that looks like HTML or a script is not taken for it.
        (b"x-content-type-options", b"nosniff"),
        # Addresses name models, which no other site needs to know.
        (b"referrer-policy", b"no-referrer"),
        # Pages of other origins cannot load answers as images or scripts, whose content they could measure. CORS has
        # its own check, so pages of `--cors-origins` are not affected.
        (b"cross-origin-resource-policy", b"cross-origin" if shared else b"same-origin"),
    ]
