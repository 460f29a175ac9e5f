"""The page about imported models."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.imported import ORIGIN, imported_card, numbers, of_numbers, write_imported
from tests.page.actions import OpenPage, ask, take
from tests.server import serving


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with imported models only."""
    folder: Path = tmp_path_factory.mktemp("imported")
    write_imported(folder, of_numbers(), imported_card("plain"), numbers())
    with serving("--artifacts", str(folder), "--model", "plain") as (url, _):
        yield url


def test_the_card_says_where_the_model_is_from(open_page: OpenPage) -> None:
    """There is no training to tell about; the model can be asked."""
    page = open_page()
    expect(page.locator("#card")).to_contain_text("Imported fromtheirs.onnx (ONNX)")
    expect(page.locator("#card")).not_to_contain_text("Trained on")
    page.get_by_text("More about it").click()
    expect(page.locator("#card-more")).to_contain_text(ORIGIN.digest)
    take(page, "Example")
    ask(page)
    expect(page.locator("#sequence-plot .attention rect")).to_have_count(4)
    ask(page, "1,2\n3,4\n5,6\n7,8")
