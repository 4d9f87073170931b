"""Fold plans: every boundary between what is seen and what is scored, in one type."""

from pmx_ray.folds.changes import change_alarms
from pmx_ray.folds.layout import FoldSettings, build_folds, folds_of, partition
from pmx_ray.folds.plan import FoldPlan, Holes, as_json, slice_document

__all__ = [
    "FoldPlan",
    "FoldSettings",
    "Holes",
    "as_json",
    "build_folds",
    "change_alarms",
    "folds_of",
    "partition",
    "slice_document",
]
