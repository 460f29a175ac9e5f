"""An object store on this machine, with the part of the protocol of S3 that reads: it lists and serves a folder."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

#: The time of each object's last change.
CHANGED = "2026-01-02T03:04:05.000Z"
CHANGED_HEADER = "Fri, 02 Jan 2026 03:04:05 GMT"


class ObjectStore(ThreadingHTTPServer):
    """Serves the folders in a folder as buckets.

    Attributes:
        folder: the folder of the buckets.
        sent: bytes of objects that were sent, by path.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Requests)
        self.folder = folder
        self.sent: dict[str, int] = {}


class Requests(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    forbidden: ClassVar = "forbidden"  # a bucket that nobody may read

    def do_HEAD(self) -> None:
        """Describe a bucket or an object."""
        self.do_GET()

    def do_GET(self) -> None:
        """List a bucket, or send an object or a range of it."""
        store = self.server
        assert isinstance(store, ObjectStore)
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).strip("/").partition("/")
        path = store.folder / bucket / key
        if bucket == self.forbidden:
            self.refuse(HTTPStatus.FORBIDDEN, "AccessDenied")
        elif not (store.folder / bucket).is_dir():
            self.refuse(HTTPStatus.NOT_FOUND, "NoSuchBucket")
        elif not key:
            self.answer(HTTPStatus.OK, listing(store.folder / bucket, parse_qs(url.query)))
        elif not path.is_file():
            self.refuse(HTTPStatus.NOT_FOUND, "NoSuchKey")
        else:
            content, status = path.read_bytes(), HTTPStatus.OK
            if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                content, status = content[int(asked[1]) : int(asked[2]) + 1], HTTPStatus.PARTIAL_CONTENT
            if self.command == "GET":
                store.sent[f"{bucket}/{key}"] = store.sent.get(f"{bucket}/{key}", 0) + len(content)
            self.answer(status, content)

    def refuse(self, status: HTTPStatus, code: str) -> None:
        """Answer with an error."""
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def answer(self, status: HTTPStatus, content: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", CHANGED_HEADER)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def listing(bucket: Path, query: dict[str, list[str]]) -> bytes:
    """Return the answer of ListObjectsV2."""
    prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
    keys = sorted(str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file())
    keys = [key for key in keys if key.startswith(prefix)]
    folders: set[str] = set()
    if delimiter:
        folders = {key[: key.index(delimiter, len(prefix)) + 1] for key in keys if delimiter in key[len(prefix) :]}
        keys = [key for key in keys if delimiter not in key[len(prefix) :]]
    keys = keys[: int(query.get("max-keys", ["1000"])[0])]
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{(bucket / key).stat().st_size}</Size>"
        f"<LastModified>{CHANGED}</LastModified></Contents>"
        for key in keys
    )
    common = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
    count = len(keys) + len(folders)
    return (
        f"<ListBucketResult><KeyCount>{count}</KeyCount><IsTruncated>false</IsTruncated>{contents}{common}"
        "</ListBucketResult>"
    ).encode()


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """Serve the folders in a folder as buckets, during the block."""
    with ObjectStore(folder) as store:
        thread = threading.Thread(target=store.serve_forever)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
