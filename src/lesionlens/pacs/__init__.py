"""Archives of hospitals (PACS): find studies and series, load a series, store results; by DICOMweb or DIMSE.

``address`` says what an archive is, ``credentials`` who asks, ``query`` what is looked for and found. ``connection`` is
the one interface, ``dicomweb`` and ``dimse`` are the two ways behind it, ``receiving`` looks at all that comes, and
``transfer`` is what others call. ``named`` keeps the addresses that a user has given names.
"""

from lesionlens.pacs.address import Address, SeriesAddress, is_series_url, parse_address, parse_series
from lesionlens.pacs.named import archive, archive_and_query, is_query, named_archives
from lesionlens.pacs.query import FoundSeries, FoundStudy, Query
from lesionlens.pacs.transfer import (
    DEFAULT_LIMIT,
    Found,
    Sent,
    fetch_all,
    fetch_series,
    find_series,
    find_studies,
    listed_images,
    send_files,
)

__all__ = [
    "DEFAULT_LIMIT",
    "Address",
    "Found",
    "FoundSeries",
    "FoundStudy",
    "Query",
    "Sent",
    "SeriesAddress",
    "archive",
    "archive_and_query",
    "fetch_all",
    "fetch_series",
    "find_series",
    "find_studies",
    "is_query",
    "is_series_url",
    "listed_images",
    "named_archives",
    "parse_address",
    "parse_series",
    "send_files",
]
