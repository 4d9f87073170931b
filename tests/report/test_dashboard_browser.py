"""The pages of the service in a real browser; skipped where none is installed."""

import dashboard_cases as cases
import pytest
from browsing import open_page, outside, prefer, resize, start_browser
from selenium.webdriver.support.ui import WebDriverWait

from pmx_ray.ledger import open_ledger
from pmx_ray.ledger.signal_log import SignalLog
from pmx_ray.report.dashboard import PAGES, read_facts, render_dashboard

FIGURES = {"models.html": 9, "signals.html": 4}
WIDEST = (
    "return Math.max(document.documentElement.scrollWidth,"
    " ...[...document.querySelectorAll('.plot .main-svg')]"
    ".map(p => p.getBoundingClientRect().right))"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    yield from start_browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def site(report, tmp_path_factory):
    """Return a folder with every page, of a stocked ledger and a hand-made evaluation."""
    root = tmp_path_factory.mktemp("service")
    sweep = root / "hand-made"
    sweep.mkdir()
    report.save(sweep)
    (sweep / "provenance.json").write_text('{"key": ""}', encoding="utf-8")
    with open_ledger(f"sqlite:///{root}/ledger.db") as ledger:
        cases.stock(root, ledger, n_sessions=100)
        panel = cases.panel_of(SignalLog(ledger).since(cases.FIRST))
        pages = render_dashboard(read_facts(root, ledger, clock=cases.clock, panel=panel))
    for name, text in pages.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def _wait(browser, script, expected):
    WebDriverWait(browser, 30).until(lambda d: d.execute_script(script) == expected)


@pytest.mark.parametrize("name", list(PAGES))
def test_page_when_opened_then_figures_drawn_no_errors_no_requests(browser, site, name):
    ready = open_page(browser, site / name)
    drawn = "return document.querySelectorAll('.plot .main-svg:first-child').length > 0"
    assert ready == str(FIGURES.get(name, 0))
    assert browser.execute_script(drawn) == (name in FIGURES)
    assert browser.get_log("browser") == []
    assert outside(browser, site / name) == set()


@pytest.mark.parametrize("name", list(PAGES))
@pytest.mark.parametrize("width", [390, 1400])
def test_page_when_any_width_then_it_does_not_scroll_sideways(browser, site, name, width):
    open_page(browser, site / name)
    resize(browser, width)
    WebDriverWait(browser, 30).until(lambda d: d.execute_script(WIDEST) <= width)


def test_pages_when_links_are_followed_then_each_is_reached_and_marked(browser, site):
    open_page(browser, site / "index.html")
    current = "return document.querySelector('nav.site a[aria-current]').getAttribute('href')"
    ready = "return document.documentElement.dataset.ready"
    for name in (*list(PAGES)[1:], "index.html"):
        browser.execute_script(f"document.querySelector('nav.site a[href=\"{name}\"]').click()")
        _wait(browser, current, name)
        WebDriverWait(browser, 60).until(lambda d: d.execute_script(ready) is not None)


def test_history_when_window_is_chosen_then_figures_and_titles_follow(browser, site):
    open_page(browser, site / "signals.html")
    shown = "return document.querySelector('#plot-history-trades').data[0].x.length"
    names = "return document.querySelector('[data-step-name]').textContent"
    seen = {}
    for window in ("90 sessions", "1 year", "30 sessions"):
        browser.execute_script(f"document.querySelector('input[value=\"{window}\"]').click()")
        _wait(browser, names, window)
        seen[window] = browser.execute_script(shown)
    assert seen == {"30 sessions": 30, "90 sessions": 90, "1 year": 100}


def test_history_when_source_is_hidden_then_in_every_figure(browser, site):
    open_page(browser, site / "signals.html")
    visible = (
        "return [...new Set([...document.querySelectorAll('.plot')].flatMap(p => p.data)"
        ".filter(t => t.legendgroup === 'llm').map(t => t.visible))]"
    )
    for expected in ([False], [True]):
        browser.execute_script("document.querySelector('button[data-spec=\"llm\"]').click()")
        _wait(browser, visible, expected)


def test_boxes_when_scheme_changes_then_they_change_their_colour(browser, site):
    open_page(browser, site / "models.html")
    colour = "return document.querySelector('#plot-spread-mse').data[0].line.color"
    seen = set()
    for scheme, ink in (("dark", "#a0a6ad"), ("light", "#5a6069")):  # --soft of page.css
        prefer(browser, scheme)
        font = "return document.querySelector('#plot-spread-mse').layout.font.color"
        _wait(browser, font, ink)
        seen.add(browser.execute_script(colour))
    assert len(seen) == 2


def test_words_when_phone_then_no_column_is_squeezed_to_letters(browser, site):
    open_page(browser, site / "index.html")
    resize(browser, 390)
    narrowest = (
        "return Math.min(...[...document.querySelectorAll('td.words')]"
        ".map(c => c.getBoundingClientRect().width))"
    )
    WebDriverWait(browser, 30).until(lambda d: d.execute_script(narrowest) >= 200)
