"""Results as pages for reading and printing: of a case, a batch or an evaluation, in one file each, HTML or PDF."""

from lesionlens.reporting.writing import FORMATS, write_report

__all__ = ["FORMATS", "write_report"]
