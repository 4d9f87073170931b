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


def _open(browser, path, *, width=1400, scheme="light"):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    _prefer(browser, scheme)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    return WebDriverWait(browser, 60).until(
        lambda d: d.execute_script("return document.documentElement.dataset.ready")
    )


def _prefer(browser, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _requests(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]


def test_page_when_opened_then_all_plots_drawn_no_errors_no_requests(browser, folder):
    path = write_page(folder)
    assert _open(browser, path) == "13"
    drawn = "return document.querySelectorAll('.plot .main-svg').length"
    assert browser.execute_script(drawn) >= 13
    assert browser.get_log("browser") == []
    assert set(_requests(browser)) - {"data:,"} == {path.as_uri()}


def test_page_when_step_is_chosen_then_tables_and_figures_follow(browser, folder):
    _open(browser, write_page(folder))
    shown = "return [...document.querySelectorAll('[data-at-step]')].filter(e => !e.hidden).map(e => e.dataset.atStep)"
    assert browser.execute_script(shown) == ["1"]
    browser.execute_script("document.querySelector('input[name=step][value=\"5\"]').click()")
    assert browser.execute_script(shown) == ["5"]
    names = "return [...document.querySelectorAll('[data-step-name]')].map(e => e.textContent)"
    assert set(browser.execute_script(names)) == {"5"}


def test_page_when_spec_is_hidden_then_in_every_figure(browser, folder):
    _open(browser, write_page(folder))
    browser.execute_script("document.querySelector('button[data-spec=\"id-drift\"]').click()")
    visible = (
        "return [...document.querySelectorAll('.plot')].flatMap(p => p.data)"
        ".filter(t => t.legendgroup === 'id-drift').map(t => t.visible)"
    )
    WebDriverWait(browser, 30).until(lambda d: set(d.execute_script(visible)) == {False})


def test_page_when_scheme_changes_then_figures_change_their_ink(browser, folder):
    _open(browser, write_page(folder))
    ink = "return document.querySelector('#plot-rolling-mse').layout.font.color"
    light = browser.execute_script(ink)
    _prefer(browser, "dark")
    WebDriverWait(browser, 30).until(lambda d: d.execute_script(ink) != light)
    assert light.startswith("#")
    assert browser.execute_script(ink).startswith("#")


@pytest.mark.parametrize("width", [390, 1400])
def test_page_when_any_width_then_it_does_not_scroll_sideways(browser, folder, width):
    _open(browser, write_page(folder), width=width)
    overflow = "return document.documentElement.scrollWidth - window.innerWidth"
    assert browser.execute_script(overflow) <= 0
    widest = "return Math.max(...[...document.querySelectorAll('.plot')].map(p => p.querySelector('.main-svg').getBoundingClientRect().right))"
    assert browser.execute_script(widest) <= width


def test_page_when_names_hold_markup_then_no_script_of_theirs_runs(browser, make, tmp_path):
    report = make(
        ("random_walk", EVIL, "<b>bold</b>"), tickers=(EVIL, "<img src=x onerror=owned=1>")
    )
    path = tmp_path / "evil.html"
    path.write_text(render_page(report, {EVIL: EVIL}, {"name": EVIL}), encoding="utf-8")
    _open(browser, path)
    assert browser.execute_script("return window.owned") is None
    assert browser.get_log("browser") == []
    labels = "return document.querySelector('#plot-heat-level .xaxislayer-above').textContent"
    assert "<b>bold</b>" in browser.execute_script(labels)
    assert set(_requests(browser)) - {"data:,"} == {path.as_uri()}


def test_page_when_script_is_injected_then_the_policy_stops_it(browser, folder):
    path = write_page(folder)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("</body>", f"{EVIL}</body>"), encoding="utf-8")
    _open(browser, path)
    assert browser.execute_script("return window.owned") is None
    assert any(
        "Content Security Policy" in entry["message"] for entry in browser.get_log("browser")
    )
