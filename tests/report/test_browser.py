"""The page in a real browser; skipped where none is installed."""

import pytest
from browsing import open_page, outside, prefer, resize, start_browser
from selenium.webdriver.support.ui import WebDriverWait

from pmx_ray.report.page import render_page, write_page

EVIL = "<script>window.owned=1</script>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    yield from start_browser(tmp_path_factory.mktemp("profile"))


def _wait(browser, script, expected):
    WebDriverWait(browser, 30).until(lambda d: d.execute_script(script) == expected)


@pytest.fixture(scope="module")
def path(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    report.save(folder)
    return write_page(folder)


@pytest.fixture(scope="module")
def opened(browser, path):
    """Return the browser with the page open, what it logged, and what it asked for."""
    ready = open_page(browser, path)
    return browser, ready, browser.get_log("browser"), outside(browser, path)


def test_page_when_opened_then_all_plots_drawn_no_errors_no_requests(opened):
    browser, ready, logged, asked = opened
    drawn = (
        "return [...document.querySelectorAll('.plot')].map(p => !!p.querySelector('.main-svg'))"
    )
    assert ready == "13"
    assert browser.execute_script(drawn) == [True] * 13
    assert logged == []
    assert asked == set()


def test_page_when_step_is_chosen_then_tables_and_figures_follow(opened):
    browser, *_ = opened
    shown = (
        "return [...document.querySelectorAll('[data-at-step]')]"
        ".filter(e => !e.hidden).map(e => e.dataset.atStep)"
    )
    names = "return [...document.querySelectorAll('[data-step-name]')].map(e => e.textContent)"
    drawn = "return JSON.stringify(document.querySelector('#plot-rolling-mse').data[0].y)"
    seen = []
    for step in ("5", "1"):
        browser.execute_script(f"document.querySelector('input[value=\"{step}\"]').click()")
        assert browser.execute_script(shown) == [step]
        assert set(browser.execute_script(names)) == {step}
        seen.append(browser.execute_script(drawn))
    assert seen[0] != seen[1]


def test_page_when_spec_is_hidden_then_in_every_figure(opened):
    browser, *_ = opened
    visible = (
        "return [...new Set([...document.querySelectorAll('.plot')].flatMap(p => p.data)"
        ".filter(t => t.legendgroup === 'id-drift').map(t => t.visible))]"
    )
    for expected in ([False], [True]):
        browser.execute_script("document.querySelector('button[data-spec=\"id-drift\"]').click()")
        _wait(browser, visible, expected)


def test_page_when_scheme_changes_then_figures_change_their_ink(opened):
    browser, *_ = opened
    ink = "return document.querySelector('#plot-rolling-mse').layout.font.color"
    for scheme, colour in (("dark", "#a0a6ad"), ("light", "#5a6069")):  # --soft of page.css
        prefer(browser, scheme)
        _wait(browser, ink, colour)


@pytest.mark.parametrize("width", [390, 1400])
def test_page_when_any_width_then_it_does_not_scroll_sideways(opened, width):
    browser, *_ = opened
    resize(browser, width)
    widest = (
        "return Math.max(document.documentElement.scrollWidth,"
        " ...[...document.querySelectorAll('.plot .main-svg')]"
        ".map(p => p.getBoundingClientRect().right))"
    )
    WebDriverWait(browser, 30).until(lambda d: d.execute_script(widest) <= width)


def test_page_when_names_hold_markup_then_no_script_of_theirs_runs(browser, make, tmp_path):
    tickers = (EVIL, "<img src=x onerror=owned=1>")
    report = make(("random_walk", EVIL, "<b>bold</b>"), tickers=tickers)
    path = tmp_path / "evil.html"
    text = render_page(report, None, {"name": EVIL})
    path.write_text(text.replace("</body>", "<script>window.let=1</script></body>"))
    open_page(browser, path)
    labels = "return document.querySelector('#plot-heat-level .xaxislayer-above').textContent"
    assert browser.execute_script("return window.owned") is None
    assert "<b>bold</b>" in browser.execute_script(labels)
    assert outside(browser, path) == set()
    # The one script that does stand in the page is stopped by its policy, and nothing else logs.
    assert browser.execute_script("return window.let") is None
    (entry,) = browser.get_log("browser")
    assert "Content Security Policy" in entry["message"]
