"""The page on paper."""

from playwright.sync_api import expect

from tests.page.actions import OpenPage, ask, button, take


def test_colours_are_printed_and_controls_are_not(open_page: OpenPage) -> None:
    """Browsers leave out backgrounds unless a style asks for them. Paper is light."""
    page = open_page(color_scheme="dark")
    take(page, "Several")
    ask(page)
    dark = page.locator(".heat-map image").get_attribute("href")
    page.emulate_media(media="print")
    for mark in ("#sequence-plot svg", "#profile-plot svg", ".bar", ".bar span", ".key", "#legend svg"):
        shown = page.locator(mark).first
        expect(shown).to_be_visible()
        expect(shown).to_have_css("print-color-adjust", "exact")
    expect(page.locator("#legend button").first).to_be_visible()
    for control in (button(page, "Ask"), button(page, "Copy"), page.get_by_label("Model", exact=True)):
        expect(control).to_be_hidden()
    for control in page.locator("textarea, input, select, summary").all():
        expect(control).to_be_hidden()
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(page.locator("body")).to_have_css("color", "rgb(0, 0, 0)")
    for group in page.get_by_role("group", name="Save the chart", include_hidden=True).all():
        expect(group).to_be_hidden()
    for part in ("#summary", "#heat-map", "#prediction", "#sequence-plot", "#curl-line"):
        expect(page.locator(part)).to_be_visible()
    expect(page.locator(".heat-map image")).not_to_have_attribute("href", dark or "")
