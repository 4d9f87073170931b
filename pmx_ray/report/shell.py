"""Parts that every page of ours is put together from: chapters, figures, inert data, a policy."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from plotly.offline import get_plotlyjs

from pmx_ray.report.figures import Plot
from pmx_ray.report.markup import Markup, markup, tag


class Chapter:
    """One section of the page: its anchor, its title, its figures and its HTML."""

    def __init__(
        self, anchor: str, title: str, lead: str, *parts: Markup, plots: Sequence[Plot] = ()
    ) -> None:
        self.anchor, self.title, self.plots = anchor, title, tuple(plots)
        opening = tag("p", lead, class_="lead") if lead else Markup()
        self.html = tag(
            "section",
            tag("h2", title, id=f"{anchor}-title"),
            opening,
            *parts,
            id=anchor,
            aria_labelledby=f"{anchor}-title",
        )


def contents(chapters: Sequence[Chapter]) -> Markup:
    """Return the list of links to chapters."""
    links = (tag("li", tag("a", chapter.title, href=f"#{chapter.anchor}")) for chapter in chapters)
    return tag("nav", tag("ul", *links), class_="contents", aria_label="Contents")


def gallery(plots: Sequence[Plot], *, thirds: bool = False, choice: str = "step") -> Markup:
    """Return figures side by side, two or three a row; ``choice`` is what their variants are of."""
    boxes = (figure_box(plot, choice=choice) for plot in plots)
    return tag("div", *boxes, class_="plots thirds" if thirds else "plots")


def figure_box(plot: Plot, *, choice: str = "step") -> Markup:
    """Return the place of one figure: title, unit, plot, caption."""
    stepped = "" not in plot.by_step
    step = markup(f", {choice} ", tag("span", next(iter(plot.by_step)), data_step_name=True))
    return tag(
        "figure",
        tag("h3", plot.title, step if stepped else Markup()),
        tag("p", plot.unit, class_="unit"),
        tag(
            "div",
            class_="plot",
            id=f"plot-{plot.id}",
            data_figure=plot.id,
            role="img",
            aria_label=plot.alt,
        ),
        tag("figcaption", plot.caption),
    )


def figure_data(plots: Sequence[Plot]) -> str:
    """Return the figures as JSON: plot id to step to Plotly figure."""
    drawn = (
        f"{json.dumps(plot.id)}:"
        + "{"
        + ",".join(
            f"{json.dumps(step)}:{figure.to_json(engine='json')}"
            for step, figure in plot.by_step.items()
        )
        + "}"
        for plot in plots
    )
    return "{" + ",".join(drawn) + "}"


def data(anchor: str, text: str) -> Markup:
    """Return JSON as a script element that nothing runs and no text in it can close."""
    inert = text.replace("<", "\\u003c")  # plotly does so too; the page does not rely on it
    return tag("script", Markup(inert), type="application/json", id=anchor)


def policy(scripts: Sequence[str]) -> str:
    """Return a content policy that runs the scripts given, by hash, and loads nothing."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def static(name: str) -> str:
    """Return a file that ships with the pages."""
    return (files("pmx_ray.report") / "static" / name).read_text(encoding="utf-8")


@cache
def plotly() -> str:
    """Return Plotly's JavaScript, which every page holds."""
    # An HTML parser turns CR LF into LF, and the policy's hash is of the text after that.
    text: str = get_plotlyjs()
    return text.replace("\r\n", "\n")


def document(
    title: str,
    top: Sequence[Markup],
    controls: Markup,
    chapters: Sequence[Chapter],
    **attributes: str,
) -> str:
    """Return a whole page: what stands above the chapters, these, and the data of their figures.

    Plotly comes with it where there are figures to draw.

    Parameters
    ----------
    title : str
        Of the window.
    top : sequence of Markup
        What comes before the list of chapters.
    controls : Markup
        What stays in sight above the chapters.
    chapters : sequence of Chapter
        In their order.
    **attributes : str
        Of the root element.
    """
    plots = [plot for chapter in chapters for plot in chapter.plots]
    scripts = (plotly(), static("page.js")) if plots else (static("page.js"),)
    main = tag("main", controls, *(chapter.html for chapter in chapters))
    body = tag(
        "body",
        tag("div", *top, contents(chapters), main, class_="page"),
        data("figures", figure_data(plots)),
        *(tag("script", Markup(text)) for text in scripts),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy(scripts)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(static("page.css"))),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en', **attributes)}\n"
