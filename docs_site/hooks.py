"""MkDocs calls these hooks: they add the documents outside `docs/`, and make links to the project's files work."""

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parent.parent
#: Documents outside `docs/`, and the pages of the site that have their text.
DOCUMENTS: Final = {
    "README.md": "index.md",
    "artifacts/README.md": "artifact.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
SOURCES: Final = {page: document for document, page in DOCUMENTS.items()}
#: Folders whose files people download. Links to other files become plain text.
DOWNLOADS: Final = ("deploy/", "examples/")
LINK: Final = re.compile(r"\[((?:!\[[^\]]*\]\([^)]*\)|[^\[\]])*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
#: A bar in the code of a table's cell. GitHub needs its escape; Python-Markdown shows it.
ESCAPED_BAR: Final = re.compile(r"(?<=[^|])\\\|")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents outside `docs/` as pages, and the files to download."""
    for document, page in DOCUMENTS.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text()))
    for folder in DOWNLOADS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files.append(File.generated(config, path.relative_to(ROOT).as_posix(), content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs' names
    """Return the text of a page with the links and the escapes of the site."""
    source = SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    lines = (ESCAPED_BAR.sub("|", line) if line.startswith("|") else line for line in markdown.split("\n"))
    return LINK.sub(lambda link: of_site(link, source), "\n".join(lines))


def of_site(link: re.Match[str], source: str) -> str:
    """Return a link of a document as the site needs it.

    Links to pages, pictures and downloads lead to those of the site. Links to other files of the project, which are
    not on the site, become their text. A link to a file that does not exist stays, so that MkDocs reports it.
    """
    text, target, anchor = link[1], link[2], link[3] or ""
    if text.startswith("!"):
        text = LINK.sub(lambda inner: of_site(inner, source), text)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    page = DOCUMENTS.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else path)
    if path in DOCUMENTS or path.startswith("docs/") or (path.startswith(DOWNLOADS) and (ROOT / path).is_file()):
        here = posixpath.dirname(source.removeprefix("docs/")) if source.startswith("docs/") else ""
        return f"[{text}]({posixpath.relpath(page, here or '.')}{anchor})"
    return text if (ROOT / path).exists() else link[0]
