"""The cells of a sweep as a page of its own: a grid by state, each cell with what is known."""

from pmx_ray.report.cells.page import CELLS_PAGE, render_cells
from pmx_ray.report.cells.reading import CellReader, SweepCells

__all__ = ["CELLS_PAGE", "CellReader", "SweepCells", "render_cells"]
