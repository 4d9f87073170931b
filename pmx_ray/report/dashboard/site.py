"""The whole dashboard as files: what the endpoint serves, and what is written to a folder."""

from collections.abc import Callable, Mapping

from pmx_ray.report.dashboard import flags, models, overview, promotions, requests, signals
from pmx_ray.report.dashboard.facts import DashboardFacts

PAGES: Mapping[str, Callable[[DashboardFacts], str]] = {
    overview.NAME: overview.overview_page,
    models.NAME: lambda facts: models.models_page(facts.sweep, at=facts.at),
    signals.NAME: lambda facts: signals.signals_page(
        facts.book,
        facts.signals,
        facts.counts,
        flags=facts.flags_now,
        panel=facts.panel,
        costs=facts.costs,
        at=facts.at,
    ),
    flags.NAME: lambda facts: flags.flags_page(
        facts.flags, facts.propagation, facts.audit, at=facts.at
    ),
    promotions.NAME: lambda facts: promotions.promotions_page(
        facts.serving, facts.entries, facts.audit, at=facts.at
    ),
    requests.NAME: lambda facts: requests.requests_page(facts.requests, at=facts.at),
}
"""Name of a page's file to what makes it; each page can be made alone."""


def render_dashboard(facts: DashboardFacts) -> dict[str, str]:
    """Return every page: file name to HTML. Each holds all it shows and asks nobody for more."""
    return {name: page(facts) for name, page in PAGES.items()}
