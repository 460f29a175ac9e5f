"""The headers that tell browsers how little an answer may do."""

from typing import Final

POLICY_HEADER: Final = b"content-security-policy"
#: The policy of all answers but the page, `/docs` and charts: an answer that a browser opens as a document loads
#: nothing, runs no script, has no access to this origin, and is shown in no frame.
POLICY: Final = b"default-src 'none'; sandbox; frame-ancestors 'none'"
#: The policy of charts: the same, but the styles in the file apply.
CHART_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"

#: JSON or text that looks like HTML or a script is not taken for it.
NOT_SNIFFED: Final = (b"x-content-type-options", b"nosniff")
#: The headers of an answer. There is no `Strict-Transport-Security`: browsers would apply it to all services of this
#: host name, on all ports, for a long time. A proxy that owns the name can add it.
HEADERS: Final = [NOT_SNIFFED, (POLICY_HEADER, POLICY)]
#: The headers of an answer with a policy of its own. It may have links; addresses name models, which no other site
#: needs to know.
HEADERS_BESIDE_POLICY: Final = [NOT_SNIFFED, (b"referrer-policy", b"no-referrer")]
