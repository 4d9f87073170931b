"""HTML that is escaped unless it was built here: the one way text enters the page."""

import html
from collections.abc import Iterable
from typing import TypeAlias

VOID = frozenset({"meta", "link", "input", "wbr"})
"""Elements without content."""


class Markup(str):
    """Text that is HTML already; plain ``str`` is escaped wherever markup is built."""

    __slots__ = ()


Node: TypeAlias = str | Iterable[str]
"""A child of an element: text to escape, markup to keep, or several of either."""


def markup(*children: Node) -> Markup:
    """Return the children one after the other, each escaped unless it is markup.

    Examples
    --------
    >>> markup("a < b")
    'a &lt; b'
    """
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, str):
            parts.append(html.escape(child))
        else:
            parts.extend(markup(inner) for inner in child)
    return Markup("".join(parts))


def tag(name: str, /, *children: Node, **attributes: str | bool) -> Markup:
    """Return one element.

    Parameters
    ----------
    name : str
        Name of the element.
    *children : str, Markup, or iterables of them
        Content; plain text is escaped.
    **attributes : str or bool
        ``class_`` writes ``class`` and ``data_step`` writes ``data-step``; True writes the bare
        name, False and the empty string leave the attribute out.

    Examples
    --------
    >>> tag("td", "<script>", class_="number")
    '<td class="number">&lt;script&gt;</td>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{markup(*children)}</{name}>")


def _attribute(key: str, value: str | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{html.escape(value)}"' if value else ""
