"""The tests of a comparison: predictive ability, strategies, regimes and diagnostics, by step."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from pmx_ray.backtest.comparison import POOLED, Comparison, SetTests
from pmx_ray.report import typeset
from pmx_ray.report.differences import significant
from pmx_ray.report.markup import Markup, markup, tag
from pmx_ray.report.tables import scroll
from pmx_ray.report.view import ReportView

Row = Mapping[str, float | int | str | bool | None]

JUDGED = {"squared_error": "level", "qlike": "variance"}
"""Losses whose tests stand on the page, and what each judges; the files hold all of them."""

ALPHA, IN_SET = 0.05, 0.10
"""Level of a test, and size of the model confidence set, at which a figure is set in bold."""

REGIMES = {
    "bull": "Bull", "bear": "Bear", "sideways": "Sideways",
    "crisis_2008": "Crisis 2008", "crisis_2020": "Crisis 2020",
}  # fmt: skip

_DIAGNOSED = {
    "ljung_box_p": "Autocorrelation (Ljung-Box)",
    "jarque_bera_p": "Not normal (Jarque-Bera)",
    "mz_p": "Biased (Mincer-Zarnowitz)",
    "pit_p": "Not uniform (PIT)",
    "kupiec_p": "Breaches (Kupiec)",
    "christoffersen_p": "Clustered (Christoffersen)",
}


def lead(view: ReportView) -> str:
    """Return what the section shows and how it is read."""
    return (
        f"p is the one-sided p-value of Diebold-Mariano with the Harvey-Leybourne-Newbold factor "
        f"against 'no better than {view.walk}', by cutoff. In the model confidence set stands what "
        f"the data cannot tell from the best. Bold: p below {ALPHA:g}, or outside the "
        f"{typeset.percent(1 - IN_SET, 0)} set. No p-value here knows how many models were tried "
        "before; the certificate does."
    )


def tables(view: ReportView, comparison: Comparison) -> list[Markup]:
    """Return, for each step, the tests, the strategies, the regimes and the diagnostics."""
    return [tag("div", *_at(view, comparison, step), data_at_step=str(step)) for step in view.steps]


def _at(view: ReportView, comparison: Comparison, step: int) -> Iterator[Markup]:
    yield _tests(view, comparison, step)
    strategies = _rows(comparison.strategies, step)
    if strategies:
        yield _strategies(strategies, step)
    regimes = _rows(comparison.regimes, step)
    if regimes:
        yield _regimes(regimes, step)
    diagnostics = _rows(comparison.diagnostics, step)
    if diagnostics:
        yield _diagnostics(diagnostics, step)


def _tests(view: ReportView, comparison: Comparison, step: int) -> Markup:
    sets = {found.loss: found for found in comparison.sets if found.step == step}
    pooled = {
        (row["spec"], row["loss"]): row
        for row in _rows(comparison.pairwise, step)
        if row["ticker"] == POOLED and row["versus"] == comparison.baseline
    }
    titles = [
        f"{name} ({what})"
        for what in JUDGED.values()
        for name in ("p against the walk", "in set, p")
    ]
    rows = []
    for spec in view.specs:
        cells = []
        for loss in JUDGED:
            row, found = pooled.get((spec, loss)), sets.get(loss)
            p = _number(row["dm_p_less"]) if row else math.nan
            inside = _number(found.mcs_p.get(spec)) if found else math.nan
            cells += [_p(p, p < ALPHA), _p(inside, inside < IN_SET)]
        rows.append((view.labels[spec], cells))
    caption = f"Step {step}: is any better than {view.walk}? " + " ".join(
        _ability(found, what) for loss, what in JUDGED.items() if (found := sets.get(loss))
    )
    return _table(caption, titles, rows)


def _ability(found: SetTests, what: str) -> str:
    if found.spa_p is None:
        return ""
    n = len(found.superior)
    names = typeset.things(n, "forecaster") if n else "none"
    return (
        f"On {what}, Hansen's test of superior predictive ability gives p "
        f"{_probability(found.spa_p)}; StepM finds {names} better."
    )


def _strategies(rows: Sequence[Row], step: int) -> Markup:
    titles = (
        "Sharpe, annual", "Deepest fall", "Return over the walk's, p", "Information ratio",
        "Variance over the walk's, p", "Value at risk", "Expected shortfall", "P(Sharpe > 0)",
        "Trades",
    )  # fmt: skip
    body = []
    for row in rows:
        greater, spread = (_number(row[name]) for name in ("t_p_greater", "f_p_two_sided"))
        cells = [
            _with_range(row, "sharpe_annual", _fixed),
            _with_range(row, "max_drawdown_frac", _percent),
            _p(greater, greater < ALPHA),
            _plain(row, "information_ratio_annual", _fixed),
            _p(spread, spread < ALPHA),
            _plain(row, "value_at_risk", _percent),
            _plain(row, "expected_shortfall", _percent),
            _plain(row, "probabilistic_sharpe", _probability),
            tag("td", typeset.count(_number(row["n_trades"]))),
        ]
        body.append((str(row["label"]), cells))
    return _table(f"Step {step}: what the trading rule earned, net of costs", titles, body)


def _regimes(rows: Sequence[Row], step: int) -> Markup:
    by_spec: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_spec.setdefault(str(row["spec"]), {})[str(row["regime"])] = row
    names = [name for name in REGIMES if any(name in found for found in by_spec.values())]
    cutoffs = next(iter(by_spec.values()))
    titles = [f"{REGIMES[name]} ({cutoffs[name]['n_cutoffs']})" for name in names]
    body = [
        (str(next(iter(found.values()))["label"]), [_regime(found.get(name)) for name in names])
        for found in by_spec.values()
    ]
    caption = (
        f"Step {step}: RMSE skill by regime, and the mean net return of a cutoff; cutoffs in "
        "brackets, the leader in bold"
    )
    return _table(caption, titles, body)


def _regime(row: Row | None) -> Markup:
    if row is None or row["skill_rmse"] is None:
        return tag("td", typeset.DASH)
    text = typeset.skill(_number(row["skill_rmse"]))
    earned = _number(row["net_return"])
    after = tag("span", "" if math.isnan(earned) else _percent(earned, 2), class_="range")
    return tag("td", tag("strong", text) if row["leads"] else text, " ", after)


def _diagnostics(rows: Sequence[Row], step: int) -> Markup:
    by_spec: dict[str, list[Row]] = {}
    for row in rows:
        by_spec.setdefault(str(row["label"]), []).append(row)
    body = [
        (label, [_rejected(found, name) for name in _DIAGNOSED]) for label, found in by_spec.items()
    ]
    caption = (
        f"Step {step}: share of tickers whose standardised errors fail a diagnostic at "
        f"{typeset.percent(ALPHA, 0)}; {typeset.percent(ALPHA, 0)} fail by chance"
    )
    return _table(caption, tuple(_DIAGNOSED.values()), body)


def _rejected(rows: Sequence[Row], name: str) -> Markup:
    known = [value for row in rows if not math.isnan(value := _number(row[name]))]
    if not known:
        return tag("td", typeset.DASH)
    return tag("td", typeset.percent(sum(p < ALPHA for p in known) / len(known), 0))


def _table(
    caption: str, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[Markup]]]
) -> Markup:
    head = tag("tr", tag("th", "Forecaster", scope="col"), *(tag("th", t, scope="col")
               for t in titles))  # fmt: skip
    body = (tag("tr", tag("th", label, scope="row"), *cells) for label, cells in rows)
    table = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return scroll(table, caption, pinned=True)


def _rows(table: pa.Table, step: int) -> list[Row]:
    return [row for row in table.to_pylist() if row["step"] == step]


def _number(value: float | int | str | bool | None) -> float:
    return math.nan if value is None else float(value)


def _p(value: float, bold: bool) -> Markup:
    if math.isnan(value):
        return tag("td", typeset.DASH)
    text = _probability(value)
    return tag("td", tag("strong", text) if bold else text)


def _probability(value: float) -> str:
    if 0.0 <= value < 0.001:
        return "< 0.001"
    return typeset.fixed(value, 3)


def _fixed(value: float) -> str:
    return significant(value)


def _percent(value: float, digits: int = 1) -> str:
    return typeset.percent(value, digits)


def _plain(row: Row, name: str, write: Callable[[float], str]) -> Markup:
    value = _number(row[name])
    return tag("td", typeset.DASH if math.isnan(value) else write(value))


def _with_range(row: Row, name: str, write: Callable[[float], str]) -> Markup:
    value, low, high = (_number(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    if math.isnan(value):
        return tag("td", typeset.DASH)
    if math.isnan(low):
        return tag("td", write(value))
    ends = markup("[", write(low), ", ", write(high), "]")
    return tag("td", write(value), " ", tag("span", ends, class_="range"))
