"""The description of the API for people: one page, made from its OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from pmx_ray.report.markup import Markup, tag
from pmx_ray.report.shell import Chapter, document


def api_page(described: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI document; it loads nothing from anywhere."""
    groups: dict[str, list[Markup]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            group = operation.get("tags", ["other"])[0]
            groups.setdefault(group, []).append(_route(method.upper(), path, operation))
    chapters = [Chapter(group, group.capitalize(), "", *rows) for group, rows in groups.items()]
    info = described["info"]
    top = [
        tag("h1", info["title"]),
        tag("p", f"Version {info['version']}. {info['description']}"),
        tag(
            "p",
            "Send the header Authorization: Bearer TOKEN; errors are problem documents (RFC 9457). "
            "The same for machines: ",
            tag("a", "/openapi.json", href="/openapi.json"),
            ".",
        ),
    ]
    return document(info["title"], top, Markup(), chapters)


def _route(method: str, path: str, operation: Mapping[str, Any]) -> Markup:
    token = "token" if operation.get("security") else "open to all"
    answers = ", ".join(sorted(operation.get("responses", {})))
    parameters = [
        tag("li", tag("code", found["name"]), f" ({found['in']}): {found.get('description', '')}")
        for found in operation.get("parameters", ())
    ]
    return tag(
        "article",
        tag("h3", tag("code", f"{method} {path}")),
        tag("p", operation.get("description", "")),
        tag("ul", *parameters) if parameters else Markup(),
        tag("p", f"{token}; answers {answers}", class_="unit"),
    )
