"""The page in a real browser; skipped where none is installed."""

import json
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from pmx_ray.report.page import render_page, write_page

EVIL = "<script>window.owned=1</script>"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver is installed (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


def _open(browser, path):
    _resize(browser, 1400)
    _prefer(browser, "light")
    for name in ("browser", "performance"):
        browser.get_log(name)  # empties it
    browser.get(path.as_uri())
    return WebDriverWait(browser, 60).until(
        lambda d: d.execute_script("return document.documentElement.dataset.ready")
    )


def _resize(browser, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _prefer(browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _outside(browser, path):
    """Return what the page asked for beside itself and the images it holds."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    }
    assert path.as_uri() in urls  # the log works
    return {url for url in urls if url != path.as_uri() and not url.startswith("data:")}


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
    ready = _open(browser, path)
    return browser, ready, browser.get_log("browser"), _outside(browser, path)


def test_page_when_opened_then_all_plots_drawn_no_errors_no_requests(opened):
    browser, ready, logged, outside = opened
    drawn = (
        "return [...document.querySelectorAll('.plot')].map(p => !!p.querySelector('.main-svg'))"
    )
    assert ready == "13"
    assert browser.execute_script(drawn) == [True] * 13
    assert logged == []
    assert outside == set()


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
        _prefer(browser, scheme)
        _wait(browser, ink, colour)


@pytest.mark.parametrize("width", [390, 1400])
def test_page_when_any_width_then_it_does_not_scroll_sideways(opened, width):
    browser, *_ = opened
    _resize(browser, width)
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
    _open(browser, path)
    labels = "return document.querySelector('#plot-heat-level .xaxislayer-above').textContent"
    assert browser.execute_script("return window.owned") is None
    assert "<b>bold</b>" in browser.execute_script(labels)
    assert _outside(browser, path) == set()
    # The one script that does stand in the page is stopped by its policy, and nothing else logs.
    assert browser.execute_script("return window.let") is None
    (entry,) = browser.get_log("browser")
    assert "Content Security Policy" in entry["message"]
