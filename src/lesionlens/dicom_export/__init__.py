"""The results of a run as DICOM objects, for archives, viewers and planning systems.

What lies where and how it is written is in ``io.dicom.export``; here the results are taken from their folder, matched
with the series that they were made from (``job``), and handed over, one function for each format (``writers``).
"""

from lesionlens.dicom_export.exporting import DEFAULT_FORMATS, DicomExport, DicomFormat, export_dicom

__all__ = ["DEFAULT_FORMATS", "DicomExport", "DicomFormat", "export_dicom"]
