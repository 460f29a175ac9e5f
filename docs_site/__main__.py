"""`python -m docs_site`: write the pages of the reference into `docs/`, after a change of what they come from."""

from docs_site.reference import FOLDER, pages

if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
