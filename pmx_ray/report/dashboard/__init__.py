"""The dashboard of the service: what serves and why, how well, under which flags, and who asked."""

from pmx_ray.report.dashboard.facts import DashboardFacts, read_facts
from pmx_ray.report.dashboard.site import PAGES, render_dashboard

__all__ = ["PAGES", "DashboardFacts", "read_facts", "render_dashboard"]
