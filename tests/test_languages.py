"""The languages of the page: the choice of one, and the texts of each."""

import json
import re
from typing import Any, Final

import pytest

from service.api.languages import LANGUAGES, preferred
from tests.server import ROOT

FOLDER: Final = ROOT / "service" / "api" / "page"
SCRIPTS: Final = {file.name: file.read_text() for file in FOLDER.glob("*.js")}
INDEX: Final = (FOLDER / "index.html").read_text()
PLACEHOLDER: Final = r"\{([\w.]+)\}"
#: Comments and strings of JavaScript. Texts in templates are checked, too; what they insert is code.
TOKEN: Final = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|`(?:\\.|[^`\\])*`", re.DOTALL)
#: Values of the card, and parts of requests.
NO_TEXTS: Final = {
    "most frequent class",
    "last value",
    "what matters",
    "part of it",
    "no more than chance",
    "Bearer ",
    ' -H "Authorization: Bearer $KEY"',
}


def texts(language: str) -> dict[str, Any]:
    """Return the texts of a language by name."""
    read: dict[str, Any] = json.loads((FOLDER / f"{language}.json").read_text())
    return read


def forms(text: str | dict[str, str]) -> list[str]:
    """Return the singular and the plural of a text, or the text."""
    return list(text.values()) if isinstance(text, dict) else [text]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("ko", "ko"),
        ("KO-kr", "ko"),
        ("ko-Hang-KR, en;q=0.9", "ko"),
        ("en-GB,en;q=0.9,ko;q=0.8", "en"),
        ("fr, ko;q=0.5, en;q=0.4", "ko"),
        ("ko, en", "ko"),
        ("en, ko", "en"),
        ("en;q=0.1, ko ; q=0.2", "ko"),
        ("ko;q=0", "en"),
        ("kok, korean", "en"),
        ("ko;q=x, ;;, é", "en"),
    ],
)
def test_a_header_prefers_a_language(header: str, language: str) -> None:
    """English is the language of all others. Nonsense is passed over."""
    assert preferred(header) == language


def test_each_language_has_all_texts() -> None:
    """They have the same names, in the same order, and the same placeholders. English tells one from several."""
    english = texts(LANGUAGES[0])
    for language in LANGUAGES:
        translated = texts(language)
        assert list(translated) == list(english)
        assert translated["language"] == language
        for name, text in translated.items():
            expected = {frozenset(re.findall(PLACEHOLDER, form)) for form in forms(english[name])}
            assert {frozenset(re.findall(PLACEHOLDER, form)) for form in forms(text)} == expected, name
            assert isinstance(text, dict) == isinstance(english[name], dict), name
            assert all(form.strip() == form != "" for form in forms(text)), name


def test_korean_is_translated() -> None:
    """Every text has Hangul, but for those of values only."""
    plain = {
        name
        for name, text in texts("ko").items()
        if any(not re.search("[가-힣]", re.sub(PLACEHOLDER, "", form)) for form in forms(text))
    }
    assert plain == {"language", "interval", "shape.tokens", "cells.scale"}


def test_no_text_is_unused() -> None:
    """The page or a script has the name of each, and no name that does not exist."""
    named = set(re.findall(PLACEHOLDER, INDEX))
    strings = {string for script in SCRIPTS.values() for string in re.findall(r"\"([\w.]+)\"", script)}
    assert set(texts("en")) - named - strings == set()
    assert named - set(texts("en")) == set()
    said = {name for script in SCRIPTS.values() for name in re.findall(r"\bsay\(\"([\w.]+)\"", script)}
    assert said - set(texts("en")) == set()


def test_no_text_is_elsewhere() -> None:
    """Neither markup nor scripts have words for people; only names of products and of languages."""
    words = re.sub(r"<[^>]*>|" + PLACEHOLDER, " ", INDEX.split("<body>")[1]).split()
    assert [word for word in words if word != "."] == ["English", "한국어"]
    assert not re.findall(r'(?:aria-label|title|placeholder|alt)="(?!\{[\w.]+\}")', INDEX)
    for name, script in SCRIPTS.items():
        strings = [
            string[1:-1] for string in TOKEN.findall(re.sub(r'class: ["`][^"`]*["`]', "", script)) if string[0] in '"`'
        ]
        plain = [re.sub(r"\$\{[^}]*\}", "", string) for string in strings]
        sentences = {
            string for string in plain if re.search(r"[A-Z][a-z]{2,} |[a-z]{3,} [a-z]{2,}", string) and string[0] != "#"
        }
        assert sentences - NO_TEXTS == set(), name
