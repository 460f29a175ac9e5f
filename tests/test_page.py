"""The page at `/`: its routes, and what a browser shows of it."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser import launched
from tests.samples import trained
from tests.server import ROOT, serving

FILES = sorted(file.name for file in (ROOT / "service" / "page").iterdir())
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
#: Views that the page is made for: light and dark, wide and narrow.
VIEWS: dict[str, Any] = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "has_touch": True},
}
#: One sequence for `after-lstm`, as JSON and as CSV; and a timestep a line, as examples are typed.
SEQUENCE = [[round(0.1 * t, 1), -1.5] for t in range(20)]
CSV = "\n".join(f"{a},{b}" for a, b in SEQUENCE)
TEXT = "[" + ",\n".join(json.dumps(step) for step in SEQUENCE) + "]"


@pytest.fixture(scope="module")
def served(artifacts: Path, masked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with models of every kind: binary, multiclass, regression, and of variable length."""
    folder = tmp_path_factory.mktemp("served")
    for model in (*artifacts.iterdir(), masked / "both"):
        shutil.copytree(model, folder / model.name)
    trained(data="add-two-numbers", name="sums", sequences=500, timesteps=8, artifacts=folder)
    with serving("--artifacts", str(folder), "--model", "after-lstm") as (url, _):
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of this module, not of the session: while it runs, so does its event loop, and other tests have their own."""
    with launched() as browser:
        yield browser


Opener = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, served: str) -> Iterator[Opener]:
    """Opens pages; at the end, nothing must have failed in any, and no other host been asked."""
    contexts, problems, requests = [], [], []

    def open_page(path: str = "/", prepare: Callable[[Page], object] | None = None, **options: Any) -> Page:
        context = browser.new_context(base_url=served, **{**VIEWS["light"], **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
        page.on("console", lambda message: problems.append(message.text) if is_problem(message) else None)
        page.on("request", lambda request: requests.append(request.url))
        if prepare:
            prepare(page)
        page.goto(path)
        expect(page.locator("#content")).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
    hosts = {urlsplit(url).netloc for url in requests if not url.startswith("data:")}
    assert hosts <= {urlsplit(served).netloc}


@pytest.fixture
def page(opened: Opener) -> Page:
    """The page, about the default model."""
    return opened()


def is_problem(message: Any) -> bool:
    """Whether the console tells of a defect; it tells of answers that are not 200, too, which some tests provoke."""
    return message.type in ("error", "warning") and not message.text.startswith("Failed to load resource")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def text(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Sequences")


def take(page: Page, name: str) -> str:
    """Have a button fill the text; returns what it filled in."""
    before = text(page).input_value()
    button(page, name).click()
    expect(text(page)).not_to_have_value(before)
    return text(page).input_value()


def ask(page: Page, typed: str | None = None) -> Page:
    """Ask, and wait for the answer."""
    if typed is not None:
        text(page).fill(typed)
    button(page, "Ask").click()
    expect(page.locator("#summary")).to_contain_text("nswered by")
    expect(page.locator("#result")).to_be_visible()
    return page


def refused(page: Page, typed: str, message: str) -> tuple[str, str]:
    """Ask what the service refuses; returns what is marked, and what is before it."""
    text(page).fill(typed)
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text(message)
    expect(page.locator("#result")).to_be_hidden()
    expect(text(page)).to_have_attribute("aria-invalid", "true")
    expect(text(page)).to_be_focused()
    marked: str = page.locator("#mark mark").text_content() or ""
    before, selected = page.evaluate(
        """() => {
          const { value, selectionStart: start, selectionEnd: end } = document.activeElement;
          return [value.slice(0, start), value.slice(start, end)];
        }"""
    )
    assert selected == marked
    return marked, before


def rows_of(page: Page) -> Locator:
    """The rows of the heat-map."""
    return page.get_by_role("listbox").get_by_role("option")


def values(page: Page, chart: str) -> list[list[str]]:
    """The rows of a chart's table."""
    details = page.locator(f"#{chart} details")
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    rows = details.locator("tbody tr")
    expect(rows.first).to_be_visible()
    cells: list[list[str]] = rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")
    return cells


def predicted(url: str, **body: Any) -> Any:
    """What the service answers."""
    return httpx.post(f"{url}/predict", json=body).raise_for_status().json()["predictions"]


# Routes


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "TEXT/HTML", "text/*", "application/json;q=0.5, text/html"])
def test_whoever_wants_html_gets_the_page(served: str, accept: str) -> None:
    """With headers that let it load nothing but its own files."""
    response = httpx.get(served, headers={"Accept": accept})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Vary"] == "Accept"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "<h1>" in response.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "image/png", "nonsense", "text/html;q=0.1, */*"])
def test_everyone_else_gets_a_sign_of_life(served: str, accept: str) -> None:
    """As curl and KServe's clients expect."""
    response = httpx.get(served, headers={"Accept": accept})
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize("name", [name for name in FILES if name != "index.html"])
def test_files_are_served_with_their_type_and_sent_again_only_if_they_changed(served: str, name: str) -> None:
    """Each by its own name."""
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    response = httpx.get(f"{served}/page/{name}")
    assert response.status_code == 200
    assert response.headers["Content-Type"].partition(";")[0] == types[name.rpartition(".")[2]]
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.content == (ROOT / "service" / "page" / name).read_bytes()
    tag = response.headers["ETag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = httpx.get(f"{served}/page/{name}", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert httpx.get(f"{served}/page/{name}", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path", ["page/", "page", "page/index.html", "page/none.js", "page/..%2fapp.py", "page/%2e%2e/app.py", "page/a/b"]
)
def test_nothing_but_the_files_is_served(served: str, path: str) -> None:
    """Whatever the path says."""
    assert httpx.get(f"{served}/{path}").status_code == 404


def test_the_page_names_no_other_host_and_has_nothing_inline() -> None:
    """Addresses are relative, so that a proxy may put a prefix before them."""
    for name in FILES:
        content = (ROOT / "service" / "page" / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.\w|innerHTML|\bstyle=|\bon\w+=", content), name
    html = (ROOT / "service" / "page" / "index.html").read_text()
    assert re.findall(r'(?:src|href)="(?!page/|#)', html) == []
    assert re.findall(r"<script(?![^>]*src=)|<style", html) == []


# The model


def test_it_shows_what_the_model_is(page: Page, served: str) -> None:
    """As its card says."""
    card = httpx.get(f"{served}/model").json()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("heading", name="after-lstm, version 1")).to_be_visible()
    facts = page.locator("#card")
    for fact in ("one of 2 classes: 0, 1", "20 timesteps × 2 features", "after lstm", "accuracy", "ONNX Runtime"):
        expect(facts).to_contain_text(fact)
    expect(facts).to_contain_text(f"{card['training']['sequences']:,} sequences")
    expect(page).to_have_title("after-lstm · Attention service")
    more = page.locator("#card-more")
    expect(more).to_be_hidden()
    page.get_by_text("How it was trained").click()
    for fact in ("batch size", "keras", card["training"]["libraries"]["keras"]):
        expect(more).to_contain_text(fact)


def test_the_profile_of_training_is_drawn_and_told(page: Page, served: str) -> None:
    """As bars with their peak, as a description, as a table, and under pointer and keyboard."""
    profile = httpx.get(f"{served}/attention").json()
    chart = page.locator("#profile-plot")
    assert profile["peak"] == 10
    heights = chart.locator(".attention rect").evaluate_all("bars => bars.map(bar => bar.height.baseVal.value)")
    highest = max(profile["mean"])
    assert [height / max(heights) for height in heights] == pytest.approx(
        [mean / highest for mean in profile["mean"]], abs=1e-3
    )
    expect(chart.locator(".attention rect.picked")).to_have_count(1)
    expect(chart.locator(".attention rect").nth(10)).to_have_class("picked")
    expect(chart.locator(".importance rect")).to_have_count(20)
    expect(chart.locator(".whiskers path")).to_have_count(20)
    expect(chart.get_by_role("img")).to_have_accessible_name("Attention profile of after-lstm, version 1")
    expect(chart.get_by_role("img")).to_have_accessible_description(re.compile("falls on timestep 10"))
    expect(page.locator("#agreement")).to_contain_text("What matters most, timestep 10")
    assert [row[0] for row in values(page, "profile-plot")] == profile["timestep_labels"]
    assert float(values(page, "profile-plot")[10][1]) == pytest.approx(highest, rel=1e-3)

    cursor = chart.get_by_role("slider")
    box = cursor.bounding_box()
    assert box is not None
    cursor.hover(position={"x": box["width"] * 10.5 / 20, "y": 5})
    expect(chart.locator(".tooltip")).to_contain_text("timestep 10")
    page.mouse.move(0, 0)
    expect(chart.locator(".tooltip")).to_be_hidden()
    cursor.focus()
    for key, timestep in (("Home", 0), ("ArrowRight", 1), ("End", 19), ("ArrowLeft", 18), ("PageDown", 8)):
        page.keyboard.press(key)
        expect(cursor).to_have_attribute("aria-valuenow", str(timestep))
        expect(cursor).to_have_attribute("aria-valuetext", re.compile(f"^timestep {timestep}: attention 0"))
        expect(chart.locator(".tooltip")).to_contain_text(f"timestep {timestep}")
    page.keyboard.press("Escape")
    expect(chart.locator(".tooltip")).to_be_hidden()


def test_another_model_is_chosen_and_kept_in_the_address(page: Page, served: str) -> None:
    """And the way back is the browser's own."""
    page.get_by_label("Model", exact=True).select_option("three")
    expect(page.get_by_role("heading", name="three, version 1")).to_be_visible()
    expect(page).to_have_url(f"{served}/?model=three")
    expect(page.locator("#card")).to_contain_text("one of 3 classes: high, low, middle")
    expect(page.locator("#profile-plot .attention rect")).to_have_count(6)
    page.get_by_label("Version", exact=True).select_option("1")
    expect(page).to_have_url(f"{served}/?model=three&version=1")
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", name="after-lstm, version 1")).to_be_visible()
    expect(page.get_by_label("Model", exact=True)).to_have_value("after-lstm")
    page.goto("/?model=three")
    take(page, "Example")
    ask(page)
    expect(page.locator("#prediction li")).to_have_count(3)
    expect(page.locator("#curl-line")).to_contain_text(f"{served}/predict?model=three")


def test_a_model_that_there_is_not_is_told_and_another_can_be_chosen(opened: Opener) -> None:
    """Rather than an empty page."""
    page = opened()
    page.goto("/?model=four")
    expect(page.get_by_role("alert").filter(has_text="no model 'four'")).to_be_visible()
    expect(page.locator("#content")).to_be_hidden()
    page.get_by_label("Model", exact=True).select_option("three")
    expect(page.get_by_role("heading", name="three, version 1")).to_be_visible()
    expect(page.locator("#unavailable")).to_be_empty()


# Asking


def test_an_example_is_answered_with_its_attention(page: Page, served: str) -> None:
    """The next one with each click; prediction, probabilities, lines over bars, and the table say what it is."""
    examples = httpx.get(f"{served}/model/example").json()["sequences"]
    assert json.loads(take(page, "Example")) == examples[0]
    assert json.loads(take(page, "Example")) == examples[1]
    ask(page)
    (expected,) = predicted(served, sequences=examples[1:2])
    expect(page.locator("#prediction .label")).to_have_text(expected["label"])
    expect(page.locator("#prediction li")).to_have_count(2)
    expect(page.locator("#prediction li").nth(1)).to_contain_text(f"{expected['prediction']:.4f}")
    expect(page.locator("#summary")).to_contain_text(f"after-lstm, version 1: {expected['label']}")
    chart = page.locator("#sequence-plot")
    expect(chart.locator(".series path")).to_have_count(2)
    expect(chart.locator(".importance rect")).to_have_count(0)
    rows = values(page, "sequence-plot")
    assert [float(row[1]) for row in rows] == pytest.approx(expected["attention"], rel=1e-3)
    assert [float(row[2].replace("−", "-")) for row in rows] == pytest.approx(
        [step[0] for step in examples[1]], rel=1e-3, abs=1e-9
    )
    looks = chart.locator(".series path").evaluate_all(
        "lines => lines.map(line => [line.getAttribute('stroke-dasharray'), getComputedStyle(line).stroke])"
    )
    assert looks[0][0] != looks[1][0]
    assert looks[0][1] != looks[1][1]


def test_the_legend_hides_and_shows_features(page: Page) -> None:
    """By mouse and by keyboard."""
    ask(page, TEXT)
    lines = page.locator("#sequence-plot .series path")
    feature = page.get_by_role("group", name="Features shown").get_by_role("button", name="1")
    feature.click()
    expect(feature).to_have_attribute("aria-pressed", "false")
    expect(lines).to_have_count(1)
    page.keyboard.press("Enter")
    expect(feature).to_have_attribute("aria-pressed", "true")
    expect(lines).to_have_count(2)
    before = lines.first.get_attribute("d")
    page.get_by_label("each feature on its own scale").check()
    expect(lines.first).not_to_have_attribute("d", before or "")


def test_several_become_a_heat_map_whose_rows_are_chosen_by_keyboard_and_mouse(page: Page, served: str) -> None:
    """What is chosen is drawn below."""
    sequences = json.loads(take(page, "Several"))
    assert sequences == httpx.get(f"{served}/model/example").json()["sequences"]
    ask(page)
    expected = predicted(served, sequences=sequences)
    rows = rows_of(page)
    expect(rows).to_have_count(len(sequences))
    expect(page.locator("#heat-map image")).to_have_attribute("href", re.compile("^data:image/png;base64,"))
    for i in (0, 31):
        label = f"Sequence {i + 1}: {expected[i]['label']}, "
        expect(rows.nth(i)).to_have_attribute("aria-label", re.compile(f"^{label}.*timestep 1[0-2]$"))
    page.get_by_role("listbox").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_role("listbox")).to_have_attribute("aria-activedescendant", "row-1")
    expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("heading", name="Sequence 2")).to_be_visible()
    assert [float(row[1]) for row in values(page, "sequence-plot")] == pytest.approx(expected[1]["attention"], rel=1e-3)
    rows.nth(5).click()
    expect(page.get_by_role("heading", name="Sequence 6")).to_be_visible()
    expect(page.locator("#summary")).to_contain_text("32 sequences answered by after-lstm, version 1. Sequence 6")
    rows.nth(5).hover()
    expect(page.locator("#heat-map .tooltip")).to_contain_text("sequence 6, timestep")


def test_the_shades_of_the_heat_map_are_attention(page: Page) -> None:
    """A pixel a weight: the darkest is the highest."""
    take(page, "Several")
    ask(page)
    darkest = page.evaluate(
        """async () => {
          const image = new Image();
          image.src = document.querySelector("#heat-map image").getAttribute("href");
          await image.decode();
          const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
          const context = canvas.getContext("2d", { willReadFrequently: true });
          context.drawImage(image, 0, 0);
          return Array.from({ length: image.height }, (_, y) => {
            const reds = Array.from({ length: image.width }, (_, x) => context.getImageData(x, y, 1, 1).data[0]);
            return reds.indexOf(Math.min(...reds));
          });
        }"""
    )
    attention = page.evaluate(
        """async () => {
          const headers = { "Content-Type": "application/json" };
          const body = `{"sequences": ${document.querySelector("#text").value}}`;
          const answer = await (await fetch("predict", { method: "POST", headers, body })).json();
          return answer.predictions.map((prediction) => prediction.attention);
        }"""
    )
    assert darkest == [weights.index(max(weights)) for weights in attention]


def test_random_sequences_are_like_the_examples(opened: Opener) -> None:
    """In the model's units, and never the same."""
    page = opened("/?model=three")
    first, second = json.loads(take(page, "Random")), json.loads(take(page, "Random"))
    assert first != second
    assert [len(step) for step in first] == [3] * 6
    assert 700 < sum(map(sum, first)) / 18 < 1400  # the data are 1000 and more
    ask(page)


def test_importance_is_shown_on_request(page: Page, served: str) -> None:
    """As a strip below, and in words."""
    text(page).fill(TEXT)
    page.get_by_label("with importance").check()
    ask(page)
    (expected,) = predicted(served, sequence=SEQUENCE, importance=True)
    expect(page.locator("#sequence-plot .importance rect")).to_have_count(20)
    rows = values(page, "sequence-plot")
    shown = [float(row[2].replace("×10", "e").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) for row in rows]
    assert shown == pytest.approx(expected["importance"], rel=1e-2, abs=1e-9)
    expect(page.locator("#correlation")).to_contain_text(f"correlation of {expected['rank_correlation']:.2g}"[:-2])
    expect(page.locator("#curl-line")).to_contain_text('{"importance":true,"sequence":')
    page.get_by_label("with importance").uncheck()
    button(page, "Ask").click()
    expect(page.locator("#sequence-plot .importance rect")).to_have_count(0)


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        (TEXT, 1),
        (f"  [{TEXT}, {TEXT}]\n", 2),
        (json.dumps({"sequence": SEQUENCE}), 1),
        (json.dumps({"sequences": [SEQUENCE] * 3}), 3),
        (json.dumps({"sequence": SEQUENCE, "attention": "none"}), 1),
        (json.dumps({"sequences": [SEQUENCE] * 2, "attention": "full"}), 2),
        (CSV, 1),
        ("first,second\n" + CSV + "\n", 1),
        (CSV.replace("\n", "\r\n"), 1),
        (CSV.replace(",", ";"), 1),
        (CSV.replace(",", " \t "), 1),
        (CSV.replace("0.5,", '"0.5" , '), 1),
        (f"{CSV}\n\n{CSV}\n  \n\n{CSV}", 3),
        (f"\ufeff{CSV}", 1),
        (f"\ufeff{TEXT}", 1),
    ],
)
def test_what_is_typed_is_read(page: Page, typed: str, count: int) -> None:
    """JSON of any of its forms, and CSV with whatever separates cells, rows and sequences."""
    page.get_by_label("with importance").check()
    with page.expect_request("**/predict*") as request:
        ask(page, typed)
    posted = json.loads(request.value.post_data or "")
    assert posted["importance"] is True
    sequences = posted.get("sequences") or [posted["sequence"]]
    assert len(sequences) == count
    assert sequences == [SEQUENCE] * count
    expect(page.locator("#sequence-plot .series path")).to_have_count(2)


def test_a_first_line_that_is_not_asked_is_told(page: Page) -> None:
    """It is taken for names if it looks like some."""
    ask(page, f"first,second\n{CSV}")
    expect(page.locator("#summary")).to_contain_text("The first line, first,second, was taken for names.")
    ask(page, CSV)
    expect(page.locator("#summary")).not_to_contain_text("names")


def test_control_and_enter_ask(page: Page) -> None:
    """From the text."""
    text(page).fill(TEXT)
    text(page).press("Control+Enter")
    expect(page.locator("#result")).to_be_visible()


def test_shorter_sequences_and_missing_values_are_gaps(opened: Opener, served: str) -> None:
    """An empty cell is a missing value, and its line has a gap."""
    page = opened("/?model=both")
    ask(page, "1,2\n,2\n3,\n4,5\n")
    (expected,) = httpx.post(
        f"{served}/predict?model=both", json={"sequence": [[1, 2], [None, 2], [3, None], [4, 5]]}
    ).json()["predictions"]
    rows = values(page, "sequence-plot")
    assert [row[0] for row in rows] == ["Mon", "Tue", "Wed", "Thu"]
    assert [float(row[1]) for row in rows] == pytest.approx(expected["attention"], rel=1e-3)
    assert [row[2] for row in rows] == ["1", "–", "3", "4"]
    paths = page.locator("#sequence-plot .series path").evaluate_all(
        "lines => lines.map(line => line.getAttribute('d'))"
    )
    assert [path.count("M") for path in paths] == [2, 2]
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sequence-plot .tooltip")).to_contain_text("missing")
    take(page, "Several")
    ask(page)
    expect(rows_of(page)).to_have_count(32)


def test_importance_takes_the_mean_of_the_training_data(opened: Opener) -> None:
    """Where a version does not know it, importance cannot be asked for, and the page says why."""

    def forget(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "baseline": None})

    page = opened(prepare=lambda page: page.route("**/model?*", forget))
    expect(page.locator("#no-importance")).to_be_visible()
    expect(page.get_by_label("with importance")).to_be_disabled()


def test_numbers_are_shown_with_their_names(opened: Opener, served: str) -> None:
    """A regression has no probabilities."""
    page = opened("/?model=sums")
    take(page, "Example")
    ask(page)
    card = httpx.get(f"{served}/model?model=sums").json()
    expect(page.locator("#prediction dt")).to_have_text(card["target"]["names"] or ["number 1"])
    expect(page.locator("#prediction li")).to_have_count(0)


def test_the_line_of_curl_asks_the_same(opened: Opener) -> None:
    """Shortened where it is shown, whole where it is copied."""
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    take(page, "Several")
    ask(page)
    expect(page.locator("#curl-rest")).to_contain_text("characters more")
    shown = page.locator("#curl-line").text_content() or ""
    assert len(shown) <= 400
    button(page, "Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    line: str = page.evaluate("navigator.clipboard.readText()")
    assert line.startswith(shown)
    parts = re.fullmatch(r"curl -s '(\S+)' -H 'Content-Type: application/json' -d '(.*)'", line, re.DOTALL)
    assert parts is not None
    answer = httpx.post(parts[1], content=parts[2], headers={"Content-Type": "application/json"})
    assert len(answer.json()["predictions"]) == 32


# Files


@pytest.mark.parametrize("place", ["#text", "h1"])
@pytest.mark.parametrize(("name", "content"), [("sequence.csv", CSV), ("sequence.json", TEXT)])
def test_a_file_can_be_dropped(page: Page, name: str, content: str, place: str) -> None:
    """On the text, or beside it, where a browser would open it and forget what was typed."""
    transfer = page.evaluate_handle(
        """([name, content]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([content], name));
          return transfer;
        }""",
        [name, content],
    )
    area, target = page.locator("#drop"), page.locator(place)
    target.dispatch_event("dragover", {"dataTransfer": transfer})
    expect(area).to_have_class("over")
    target.dispatch_event("drop", {"dataTransfer": transfer})
    expect(area).not_to_have_class("over")
    expect(text(page)).to_have_value(content)
    ask(page)


def test_a_file_can_be_chosen(page: Page) -> None:
    """Twice the same, too."""
    for _ in range(2):
        text(page).fill("")
        page.get_by_label("File…").set_input_files(
            {"name": "sequence.csv", "mimeType": "text/csv", "buffer": CSV.encode()}
        )
        expect(text(page)).to_have_value(CSV)
    ask(page)


# What is wrong


@pytest.mark.parametrize(
    ("typed", "message", "marked", "line"),
    [
        # At a path in JSON, in each of its forms.
        (TEXT.replace("0.3,", "null,"), "sequence[3][0]: expected a finite number, got null", "null", 4),
        (TEXT.replace("[0.3, -1.5]", '[0.3, "a, ]\\" b"]'), "sequence[3][1]", '"a, ]\\" b"', 4),
        (TEXT.replace("[0.3, -1.5]", "[0.3]"), "sequence[3]: expected 2 features, got 1", "[0.3]", 4),
        (f"[{TEXT},\n{TEXT.replace('0.3,', '[[1], 2],')}]", "sequences[1][3][0]", "[[1], 2]", 24),
        (f'{{"attention": "mean", "sequence":\n{TEXT.replace("0.3,", "1e99,")}}}', "sequence[3][0]", "1e99", 5),
        (f'{{"sequences": [{TEXT}, [[1]]]}}', "sequences[1]: expected 20 timesteps, got 1", "[[1]]", 20),
        # Where the service stopped to read JSON.
        (TEXT.replace("0.3,", "0.3"), "expected JSON", "-", 4),
        (TEXT.replace("0.3,", "NaN,"), "expected JSON", "N", 4),
        (TEXT[:-1], "expected JSON", "]", 20),
        ('{"sequence": "\N{GRINNING FACE}" x}', "expected JSON", "x", 1),
        # In a cell or a row.
        (CSV.replace("0.3,-1.5", "0.3,abc"), "sequence[3][1]: expected a finite number, got a string", "abc", 4),
        ("a,b\n" + CSV.replace("0.3,", '"x, y",'), "sequence[3][0]", '"x, y"', 5),
        (CSV.replace("0.3,-1.5", "0.3,-1.5,7"), "sequence[3]: expected 2 features, got 3", "0.3,-1.5,7", 4),
        (f"{CSV}\n\n{CSV.replace('0.3,', ' 1e99 ,')}", "sequences[1][3][0]", "1e99", 25),
        (CSV.replace("0.3,", ","), "sequence[3][0]: expected a finite number, got null", "\n,", 3),
        (CSV.replace("0.3,", "1e999,"), "sequence[3][0]: expected a finite number, got a string", "1e999", 4),
        # In a first line that is no line of names.
        (CSV.replace(CSV.split("\n")[0], "?,-", 1), "sequence[0][0]", "?", 1),
        (CSV.replace(CSV.split("\n")[0], "inf,-inf", 1), "sequence[0][0]", "inf", 1),
        (CSV.replace(CSV.split("\n")[0], "1,5;2,5", 1), "sequence[0]", "1,5", 1),
    ],
)
def test_what_is_wrong_is_told_and_marked(page: Page, typed: str, message: str, marked: str, line: int) -> None:
    """In the service's words, at the element in the text."""
    found, before = refused(page, typed, message)
    assert found == marked
    assert before.count("\n") + 1 == line
    expect(page.locator("#problem")).to_contain_text(f"line {line}")
    assert page.locator("#problem").get_attribute("role") == "alert"
    text(page).press("End")
    page.keyboard.type(" ")
    expect(page.locator("#problem")).to_be_empty()
    expect(page.locator("#mark")).to_be_empty()
    ask(page, TEXT)


def test_what_is_marked_is_scrolled_into_view(page: Page) -> None:
    """Mark and text stay together."""
    refused(page, "[" + ",\n".join(["[0.1, -1.5]"] * 500) + ",\n[0.1, null]]", "expected 20 timesteps, got 501")
    steps = [" " * 300 + "[0.1, -1.5]"] * 20
    steps[19] = " " * 300 + "[0.1, null]"
    refused(page, "[" + ",\n".join(steps) + "]", "sequence[19][1]")
    inside = page.evaluate(
        """() => {
          const [mark, text] = [document.querySelector("#mark mark"), document.querySelector("#text")]
            .map((element) => element.getBoundingClientRect());
          const across = mark.left >= text.left && mark.right <= text.right;
          return across && mark.top >= text.top && mark.bottom <= text.bottom;
        }"""
    )
    assert inside


def test_what_has_no_place_is_told(page: Page) -> None:
    """Nothing is marked."""
    text(page).fill('{"sequence": [[1]], "sequences": []}')
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("expected either 'sequence' or 'sequences', got both")
    expect(page.locator("#mark mark")).to_have_count(0)
    text(page).fill(" \n")
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("nothing to ask")


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (429, {"Retry-After": "7"}, "Try again in 7 s: busy"),
        (503, {}, "No model can answer now: busy"),
        (504, {}, "The answer took too long: busy"),
        (413, {}, "busy"),
        (500, {}, "busy"),
        (None, {}, "The service cannot be reached"),
    ],
)
def test_a_service_that_cannot_answer_is_told_and_can_be_asked_again(
    page: Page, status: int | None, headers: dict[str, str], message: str
) -> None:
    """Nothing hangs."""

    def fail(route: Route) -> None:
        route.fulfill(status=status, headers=headers, json={"detail": "busy"}) if status else route.abort()

    page.route("**/predict*", fail)
    text(page).fill(TEXT)
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text(message)
    expect(button(page, "Ask")).to_have_attribute("aria-disabled", "false")
    page.unroute("**/predict*")
    ask(page)
    expect(page.locator("#problem")).to_be_empty()


def test_what_is_not_from_the_service_is_told(page: Page) -> None:
    """As a proxy's own page is."""
    page.route("**/predict*", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    text(page).fill(TEXT)
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text("The service answered with status 502.")


def test_a_service_without_a_model_is_told_until_there_is_one(opened: Opener) -> None:
    """By a button, or by loading the page again."""
    page = opened()
    page.route("**/model?*", lambda route: route.fulfill(status=503, json={"detail": "none loaded"}))
    page.reload()
    expect(page.get_by_role("alert").filter(has_text="No model can answer now: none loaded")).to_be_visible()
    page.unroute("**/model?*")
    button(page, "Try again").click()
    expect(page.get_by_role("heading", name="after-lstm, version 1")).to_be_visible()


# The traffic


def test_the_live_profile_moves_with_the_traffic(opened: Opener, served: str) -> None:
    """Its bars are the same elements before and after, and whoever is at one of them stays there."""
    page = opened("/?model=before-lstm")
    live = page.locator("#live-plot")
    expect(page.locator("#live-text")).to_contain_text("No sequence was asked for in the last minute")
    expect(live.locator(".outline path")).to_have_count(1)
    cursor = live.get_by_role("slider")
    cursor.focus()
    page.keyboard.press("End")
    bar = live.locator(".attention rect").nth(10).element_handle()
    assert bar is not None
    empty = "bar => bar.isConnected && bar.height.baseVal.value"
    assert bar.evaluate(empty) == 0
    for sequences in (3, 5):
        httpx.post(f"{served}/predict?model=before-lstm", json={"sequences": [SEQUENCE] * sequences}).raise_for_status()
        total = {3: 3, 5: 8}[sequences]
        expect(page.locator("#live-text")).to_contain_text(f"{total} sequences in the last minute")
    expect(page.locator("#live-text")).to_contain_text("chance alone would give about")
    assert bar.evaluate(empty) > 0
    expect(cursor).to_be_focused()
    expect(cursor).to_have_attribute("aria-valuenow", "19")
    expect(live.locator(".tooltip")).to_contain_text("timestep 19")
    profile = httpx.get(f"{served}/attention?model=before-lstm").json()
    rows = values(page, "live-plot")
    assert [float(row[1]) for row in rows] == pytest.approx(profile["live"]["1m"]["mean"], rel=1e-2, abs=1e-5)
    assert [float(row[3]) for row in rows] == pytest.approx(profile["mean"], rel=1e-2, abs=1e-5)
    for label, name in (
        ("last 10 minutes", "the last 10 minutes"),
        ("last hour", "the last hour"),
        ("since the start", "started"),
    ):
        page.get_by_role("radio", name=label, exact=True).check()
        expect(page.locator("#live-text")).to_contain_text(name)


def test_asking_shows_in_the_live_profile(page: Page, served: str) -> None:
    """What is asked on the page is traffic, too."""
    page.get_by_role("radio", name="since the start").check()
    before = httpx.get(f"{served}/attention").json()["live"]["start"]["sequences"]
    ask(page, TEXT)
    expect(page.locator("#live-text")).to_contain_text(f"{before + 1:,} sequence")


def test_nobody_is_polled_while_nobody_looks(opened: Opener) -> None:
    """A hidden page waits until it can be seen."""
    page = opened(prepare=lambda page: page.clock.install())
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if "/attention" in request.url else None)
    with page.expect_response("**/attention*"):
        page.clock.run_for(2_000)
    page.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { get: () => window.unseen, configurable: true });
          window.unseen = true;
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    seen = len(polls)
    page.clock.run_for(60_000)
    assert len(polls) == seen
    with page.expect_response("**/attention*"):
        page.evaluate("window.unseen = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_a_lost_service_is_told_and_found_again(page: Page) -> None:
    """The live profile keeps trying."""
    page.route("**/attention*", lambda route: route.abort())
    expect(page.locator("#live-text")).to_contain_text("cannot be reached")
    page.unroute("**/attention*")
    expect(page.locator("#live-text")).not_to_contain_text("cannot be reached")


def test_a_newer_version_takes_over_the_page(page: Page) -> None:
    """Unless a version was chosen."""

    def newer(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "version": 2})

    page.route("**/attention*", newer)
    page.route("**/model?*", newer)
    expect(page.get_by_role("heading", name="after-lstm, version 2")).to_be_visible()


# For everyone


HOSTILE = '<img src=x onerror="window.hurt=1"><b>'


def test_names_are_text_whatever_they_contain(opened: Opener) -> None:
    """Labels of timesteps, features and classes, options and messages: none becomes an element."""

    def hostile(route: Route) -> None:
        answer = route.fetch().json()
        answer["timestep_labels"] = [HOSTILE + label for label in answer["timestep_labels"]]
        if "feature_labels" in answer:
            answer["feature_labels"] = [HOSTILE + label for label in answer["feature_labels"]]
            answer["target"]["classes"] = [HOSTILE + name for name in answer["target"]["classes"]]
            answer["training"]["options"] = {HOSTILE: HOSTILE}
            answer["rejected"] = [{"version": 9, "reason": HOSTILE}]
        route.fulfill(json=answer)

    def hostile_prediction(route: Route) -> None:
        answer = route.fetch().json()
        for prediction in answer["predictions"]:
            prediction["label"] = HOSTILE + prediction["label"]
        route.fulfill(json=answer)

    def prepare(page: Page) -> None:
        page.route("**/model?*", hostile)
        page.route("**/attention*", hostile)
        page.route("**/predict*", hostile_prediction)

    page = opened(prepare=prepare)
    take(page, "Several")
    ask(page)
    expect(page.locator("#prediction .label")).to_contain_text(HOSTILE)
    for chart in ("profile-plot", "sequence-plot", "live-plot"):
        assert HOSTILE in values(page, chart)[0][0]
        page.locator(f"#{chart}").get_by_role("slider").hover()
        expect(page.locator(f"#{chart} .tooltip")).to_contain_text(HOSTILE)
    page.route("**/predict*", lambda route: route.fulfill(status=422, json={"detail": HOSTILE}))
    button(page, "Ask").click()
    expect(page.locator("#problem")).to_contain_text(HOSTILE)
    assert page.evaluate("[window.hurt, document.querySelectorAll('body img, body b img').length]") == [None, 0]


def test_it_works_behind_a_prefix(opened: Opener, served: str) -> None:
    """Of a reverse proxy: no address of the page begins at the root of the host."""

    def behind(route: Route) -> None:
        url = route.request.url.replace("/some/where/", "/")
        route.fulfill(response=route.fetch(url=url))

    page = opened("/some/where/", prepare=lambda page: page.route("**/some/where/**", behind))
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    take(page, "Example")
    ask(page)
    expect(page.locator("#curl-line")).to_contain_text(f"{served}/some/where/predict?")
    assert all(url.startswith((f"{served}/some/where/", "data:")) for url in requested)


def tab_to(page: Page, target: Locator) -> None:
    """Press the tabulator until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            outline = target.evaluate("e => getComputedStyle(e.id === 'file' ? e.nextElementSibling : e).outlineStyle")
            assert outline != "none"
            return
    raise AssertionError(f"no way to {target} by keyboard")


def test_everything_can_be_done_by_keyboard(page: Page) -> None:
    """From the top of the page to a row of the heat-map, a timestep and a window; and what has the focus shows it."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to where you can try it")).to_be_focused()
    for target in (page.get_by_label("Model", exact=True), page.get_by_label("Version", exact=True)):
        tab_to(page, target)
    tab_to(page, page.locator("#profile-plot").get_by_role("slider"))
    tab_to(page, button(page, "Several"))
    page.keyboard.press("Enter")
    expect(text(page)).not_to_have_value("")
    tab_to(page, page.locator("#file"))
    tab_to(page, text(page))
    tab_to(page, button(page, "Ask"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("listbox")).to_be_visible()
    expect(button(page, "Ask")).to_be_focused()
    tab_to(page, page.get_by_role("listbox"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sequence 2")).to_be_visible()
    tab_to(page, page.get_by_role("group", name="Features shown").get_by_role("button").first)
    page.keyboard.press("Space")
    expect(page.locator("#sequence-plot .series path")).to_have_count(1)
    tab_to(page, page.locator("#sequence-plot").get_by_role("slider"))
    page.keyboard.press("ArrowRight")
    expect(page.locator("#sequence-plot .tooltip")).to_be_visible()
    tab_to(page, button(page, "Copy"))
    tab_to(page, page.get_by_role("radio", name="last minute"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="last 10 minutes")).to_be_checked()
    tab_to(page, page.locator("#live-plot").get_by_role("slider"))


def empty(page: Page) -> None:
    """As it is loaded."""


def one_result(page: Page) -> None:
    text(page).fill(TEXT)
    page.get_by_label("with importance").check()
    ask(page)
    values(page, "sequence-plot")
    page.get_by_text("How it was trained").click()
    page.locator("#sequence-plot").get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")


def heat_map(page: Page) -> None:
    take(page, "Several")
    ask(page)


def error(page: Page) -> None:
    refused(page, TEXT.replace("0.3,", "null,"), "sequence[3][0]")


@pytest.mark.parametrize("state", [empty, one_result, heat_map, error])
@pytest.mark.parametrize("view", VIEWS)
def test_everyone_can_use_it(opened: Opener, view: str, state: Callable[[Page], None]) -> None:
    """Axe finds nothing to object to, and nothing is wider than the screen."""
    page = opened(bypass_csp=True, reduced_motion="reduce", **VIEWS[view])
    state(page)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def contrast(one: str, other: str) -> float:
    """Of two colors written as #rrggbb, as WCAG 2 defines it: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("view", ["light", "dark"])
def test_colors_stand_out(opened: Opener, view: str) -> None:
    """Text by 4.5 to 1, what is drawn by 3 to 1: charts are beyond what axe looks at."""
    page = opened(**VIEWS[view])

    def color(name: str) -> str:
        value: str = page.evaluate(f"getComputedStyle(document.body).getPropertyValue('--{name}').trim()")
        return value

    paper = color("paper")
    dark = contrast(paper, "#000000") < contrast(paper, "#ffffff")
    assert dark == (view == "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        f"rgb({', '.join(str(int(paper[i : i + 2], 16)) for i in (1, 3, 5))})"
    )
    for ground in ("paper", "raised"):
        for name in ("ink", "soft", "link", "wrong"):
            assert contrast(color(name), color(ground)) >= 4.5, (name, ground)
        for name in ("attention-edge", "peak", "importance", "edge", *(f"line-{i}" for i in range(7))):
            assert contrast(color(name), color(ground)) >= 3, (name, ground)
    for name in ("ink", "wrong"):
        assert contrast(color(name), color("wrong-paper")) >= 4.5, name
    for i in range(7):
        assert contrast(color(f"line-{i}"), color("attention")) >= 3, i


def test_whoever_wants_less_motion_gets_none(opened: Opener) -> None:
    """Bars move for everyone else."""
    moving = "getComputedStyle(document.querySelector('#live-plot .attention rect')).transitionDuration"
    assert opened().evaluate(moving) != "0s"
    assert opened(reduced_motion="reduce").evaluate(moving) == "0s"
