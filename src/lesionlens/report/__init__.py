"""What is read outside the viewer: tables and figures."""

from lesionlens.report.montage import draw_montage, write_montage
from lesionlens.report.table import COLUMN_NAMES, region_rows, write_table

__all__ = ["COLUMN_NAMES", "draw_montage", "region_rows", "write_montage", "write_table"]
