"""SQL records of what was run and what came out."""

from pmx_ray.ledger.ledger import Ledger, open_ledger
from pmx_ray.ledger.records import Metric, Run, RunRecord, RunStatus, Spec

__all__ = ["Ledger", "Metric", "Run", "RunRecord", "RunStatus", "Spec", "open_ledger"]
