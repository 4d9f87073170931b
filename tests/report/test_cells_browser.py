"""The page of cells in a real browser; skipped where none is installed."""

from dataclasses import replace

import numpy as np
import pytest
from browsing import open_page, outside, prefer, resize, start_browser
from conftest import walk
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from pmx_ray.backtest.attempts import Attempt
from pmx_ray.backtest.blocks import BlockSize, plan_blocks
from pmx_ray.backtest.settings import SweepSettings
from pmx_ray.backtest.sweep import Sweep
from pmx_ray.folds import folds_of
from pmx_ray.lake import Receipt
from pmx_ray.lake.blocks import block_key
from pmx_ray.report.cells import SweepCells, render_cells
from pmx_ray.report.cells.reading import BlockFacts, FailedCell
from pmx_ray.report.cells.states import CODES

EVIL = "planted <script>window.owned=1</script><img src=x onerror=window.owned=1>"
TRACE = f'Traceback (most recent call last):\n  File "mine/plugin.py", line 7\nValueError: {EVIL}'
CODE_FILL = "return [...document.querySelectorAll('canvas')].map(c => c.height > 0)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    yield from start_browser(tmp_path_factory.mktemp("profile"))


def cells_of(folder, *, n_tickers: int, n_folds: int, labels: int, per_block: int) -> SweepCells:
    """Return a finished sweep's cells; spec 1, ticker 1 failed in the folds of one block."""
    panel = walk("ABCDEFGHIJ"[: min(n_tickers, 10)], 120 + n_folds)
    if n_tickers > 10:
        close = np.tile(panel.close, (n_tickers // 10, 1))
        names = tuple(f"T{n:04d}" for n in range(n_tickers))
        panel = replace(panel, tickers=names, close=close)
    settings = SweepSettings.model_validate(
        {
            "name": "planted",
            "panel": {"source": "file", "path": "prices.csv"},
            "folds": {"input_size": 100, "step_size": 1, "steps": [1], "end": None},
            "forecasters": [
                {"name": "historical_mean", "window": 50 + n} for n in range(labels - 1)
            ],
        }
    )
    plan = folds_of(panel, settings.folds)[:n_folds]
    sweep = Sweep(folder, settings, panel, {}, plan, settings.specs())
    size = BlockSize(per_block, 1)
    blocks = plan_blocks(panel, plan, specs=sweep.specs, seed=0, size=size, known=set()).todo
    states = np.full((labels, n_tickers, n_folds), CODES["done"], np.uint8)
    failing = (sweep.specs[1].id, panel.tickers[1])
    facts, failed = [], []
    for block in blocks:
        attempts: tuple[Attempt, ...] = ()
        if (block.spec.id, block.tickers[0]) == failing and block.first == 0:
            failed = [FailedCell(1, 1, f, "error", f"fit raised {EVIL}") for f in range(block.stop)]
            states[1, 1, : block.stop] = CODES["error"]
            raised = Attempt(1, "n1", "2020-01-01", "raised", 1.0, "OSError: lost", {})
            told = {f"fit raised {EVIL}": TRACE}
            attempts = (raised, Attempt(2, "n2", "2020-01-02", "failed_cells", 2.0, None, told))
        receipt = Receipt(
            block.id, block_key(block.id), 9, 0, "0" * 64, 0.25, "n2", 1 + len(attempts) // 2
        )
        facts.append(BlockFacts(block, sweep.specs.index(block.spec), receipt, None, attempts))
    return SweepCells(sweep, tuple(facts), states, tuple(failed))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    cells = cells_of(folder, n_tickers=5, n_folds=20, labels=3, per_block=4)
    page = folder / "cells.html"
    page.write_text(render_cells(cells))
    return page


@pytest.fixture
def opened(browser, path):
    assert open_page(browser, path) == "3"
    return browser


def click_cell(browser, spec: int, ticker: int, fold: int) -> None:
    """Click the middle of a cell of a grid that no bins are in, where the pointer would."""
    canvas = browser.find_element("css selector", f"canvas[data-spec='{spec}']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    x, y = 14 + 7 + 16 * fold + 8, 20 + 14 * ticker + 7  # names of one letter, cells of 16 x 14
    ActionChains(browser).move_to_element_with_offset(
        canvas, x - width // 2, y - height // 2
    ).click().perform()


def told(browser) -> str:
    return browser.find_element("id", "cell").text


def test_page_when_opened_then_drawn_without_errors_or_requests(browser, path) -> None:
    assert open_page(browser, path) == "3"
    WebDriverWait(browser, 30).until(lambda d: all(d.execute_script(CODE_FILL)))
    assert browser.get_log("browser") == []
    assert outside(browser, path) == set()


def test_cell_when_clicked_then_its_reason_traceback_and_attempts(opened) -> None:
    click_cell(opened, 1, 1, 2)
    text = told(opened)
    for part in (
        f"fit raised {EVIL}",
        TRACE,
        "Attempt 1: began 2020-01-01 on n1, raised after 1 s",
        "OSError: lost",
        "Attempt 2: done in 0.25 s on n2",
        "--ticker B --status error",
        "0 to 3",
    ):
        assert part in text
    assert opened.execute_script("return window.owned") is None
    assert opened.execute_script("return document.querySelectorAll('#cell img').length") == 0


def test_cell_when_fine_then_its_block_and_no_reason(opened) -> None:
    click_cell(opened, 0, 3, 19)
    text = told(opened)
    assert "done: computed for this sweep" in text
    assert "16 to 19" in text
    assert "Reason" not in text
    assert "pmx rerun" not in text


def test_grid_when_keys_are_used_then_cells_open_and_focus_returns(opened) -> None:
    canvas = opened.find_element("css selector", "canvas[data-spec='1']")
    opened.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    said = opened.find_element("id", "at-1")
    assert said.text.startswith("A, ")
    assert "(fold 2): done" in said.text
    canvas.send_keys("n")  # the next failed cell
    assert said.text.startswith("B, ")
    assert "(fold 0): error" in said.text
    canvas.send_keys(Keys.ENTER)
    assert f"fit raised {EVIL}" in told(opened)
    assert opened.switch_to.active_element.get_attribute("id") == "cell"
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not opened.find_element("id", "cell").is_displayed()
    assert opened.switch_to.active_element == canvas


def test_table_when_its_button_is_pressed_then_the_first_cell_opens(opened) -> None:
    opened.find_element("css selector", "button[data-open]").click()
    assert f"fit raised {EVIL}" in told(opened)
    assert opened.execute_script("return location.hash") == "#cell-1.1.0"
    opened.refresh()  # a page that loads itself again comes back to the same cell
    WebDriverWait(opened, 30).until(lambda d: f"fit raised {EVIL}" in told(d))


def colours(browser, spec: int) -> set[str]:
    """Return the colours in the middle of the cells of a drawn grid."""
    return set(
        browser.execute_script(
            """
            const canvas = document.querySelector(`canvas[data-spec='${arguments[0]}']`);
            const pen = canvas.getContext('2d');
            const seen = new Set();
            for (let n = 0; n < 5; n += 1) for (let f = 0; f < 20; f += 1) {
              const at = pen.getImageData(14 + 7 + 16 * f + 8, 20 + 14 * n + 7, 1, 1).data;
              seen.add([...at.slice(0, 3)].join(','));
            }
            return [...seen];
            """,
            spec,
        )
    )


def test_grid_when_a_state_is_brought_out_then_the_others_fade(opened) -> None:
    both = colours(opened, 1)
    assert len(both) == 2
    opened.find_element("css selector", "button[data-state='error']").click()
    assert colours(opened, 0) == {"240,240,236"}
    assert colours(opened, 1) == {"240,240,236", "200,50,26"}
    opened.find_element("css selector", "button[data-state='error']").click()
    assert colours(opened, 1) == both


def test_grid_when_only_failing_tickers_are_wanted_then_their_rows_alone(opened) -> None:
    opened.find_element("id", "failing").click()
    canvas = opened.find_element("css selector", "canvas[data-spec='1']")
    assert canvas.size["height"] == 20 + 14 + 2
    click_cell(opened, 1, 0, 0)
    assert ", B, " in told(opened)


def test_page_when_scheme_changes_then_other_colours(opened) -> None:
    light = colours(opened, 1)
    prefer(opened, "dark")
    WebDriverWait(opened, 30).until(lambda d: not colours(d, 1) & light)


@pytest.mark.parametrize("width", [400, 1280])
def test_page_when_any_width_then_it_does_not_scroll_sideways(opened, width) -> None:
    resize(opened, width)
    opened.find_element("css selector", "button[data-open]").click()
    widest = "return document.documentElement.scrollWidth"
    WebDriverWait(opened, 30).until(lambda d: d.execute_script(widest) <= width)


def test_page_when_500_by_250_by_4_then_it_opens_and_cells_are_found(browser, tmp_path) -> None:
    cells = cells_of(tmp_path, n_tickers=500, n_folds=250, labels=4, per_block=51)
    assert cells.states.size == 500_000
    page = tmp_path / "cells.html"
    page.write_text(render_cells(cells))
    assert page.stat().st_size < 2_000_000
    assert open_page(browser, page) == "4"
    assert browser.get_log("browser") == []
    browser.find_element("css selector", "button[data-open]").click()
    assert f"fit raised {EVIL}" in told(browser)
    assert "T0001" in told(browser)
    resize(browser, 400)  # now several folds share a place
    browser.find_element("css selector", "#cell .close").click()
    canvas = browser.find_element("css selector", "canvas[data-spec='1']")
    browser.execute_script("arguments[0].focus()", canvas)
    # Folds 50, which failed, and 51, which did not: the worse of the two is drawn.
    at = "return [...arguments[0].getContext('2d').getImageData(14 + 35 + 51, 24, 1, 1).data]"
    WebDriverWait(browser, 30).until(lambda d: d.execute_script(at, canvas) == [200, 50, 26, 255])
    canvas.send_keys(Keys.HOME, "n", Keys.ENTER)
    WebDriverWait(browser, 30).until(lambda d: "T0001, " in told(d))
    browser.find_element("css selector", "#cell li button").click()
    assert f"fit raised {EVIL}" in told(browser)
