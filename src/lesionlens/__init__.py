"""LesionLens shows what a medical imaging model sees. Research software, not a medical device.

>>> import lesionlens as ll
>>> volume = ll.read("scan.nii.gz")                    # doctest: +SKIP
>>> bundle = ll.load_bundle("flair-lesions")           # doctest: +SKIP
>>> heatmaps = ll.predict(bundle, volume)              # doctest: +SKIP
>>> cam = ll.explain(bundle, volume)                   # doctest: +SKIP
>>> regions = ll.measure(volume, heatmaps[0])          # doctest: +SKIP
>>> ll.write(cam, "cam.nii.gz")                        # doctest: +SKIP

Importing the package loads nothing heavy: names are fetched from their modules when they are first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionlens.checks import TrustReport
    from lesionlens.detections import Detection
    from lesionlens.dicom_export import export_dicom
    from lesionlens.errors import LesionLensError
    from lesionlens.heatmap import Heatmap, Importance, LabelMap, Provenance
    from lesionlens.importance import feature_importance, write_importance
    from lesionlens.io import list_series, read, read_findings, read_overlay, write
    from lesionlens.model import (
        Bundle,
        classify,
        detect,
        explain,
        list_bundles,
        load_bundle,
        predict,
        score_anomaly,
        uncertainty,
    )
    from lesionlens.model.trust import trust
    from lesionlens.pipeline import RunOptions, run_case
    from lesionlens.regions import Region, measure
    from lesionlens.results import CaseResult, read_case, write_case
    from lesionlens.rules import RegionRules
    from lesionlens.target import TargetSpec
    from lesionlens.volume import Grid, Source, Volume

_HOME = {
    "LesionLensError": "errors",
    "Heatmap": "heatmap",
    "Importance": "heatmap",
    "LabelMap": "heatmap",
    "Provenance": "heatmap",
    "list_series": "io",
    "read": "io",
    "read_findings": "io",
    "read_overlay": "io",
    "write": "io",
    "Bundle": "model",
    "classify": "model",
    "detect": "model",
    "Detection": "detections",
    "explain": "model",
    "export_dicom": "dicom_export",
    "feature_importance": "importance",
    "write_importance": "importance",
    "list_bundles": "model",
    "load_bundle": "model",
    "predict": "model",
    "score_anomaly": "model",
    "TrustReport": "checks",
    "trust": "model.trust",
    "uncertainty": "model",
    "CaseResult": "results",
    "RunOptions": "pipeline",
    "run_case": "pipeline",
    "read_case": "results",
    "write_case": "results",
    "Region": "regions",
    "measure": "regions",
    "RegionRules": "rules",
    "TargetSpec": "target",
    "Grid": "volume",
    "Source": "volume",
    "Volume": "volume",
}

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "CaseResult",
    "Detection",
    "Grid",
    "Heatmap",
    "Importance",
    "LabelMap",
    "LesionLensError",
    "Provenance",
    "Region",
    "RegionRules",
    "RunOptions",
    "Source",
    "TargetSpec",
    "TrustReport",
    "Volume",
    "__version__",
    "classify",
    "detect",
    "explain",
    "export_dicom",
    "feature_importance",
    "list_bundles",
    "list_series",
    "load_bundle",
    "measure",
    "predict",
    "read",
    "read_case",
    "read_findings",
    "read_overlay",
    "run_case",
    "score_anomaly",
    "trust",
    "uncertainty",
    "write",
    "write_case",
    "write_importance",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'lesionlens' has no attribute {name!r}")
    if name == "explain":
        # The function and the package share a name; the package can be called and hands over to the function.
        return import_module("lesionlens.explain")
    value = getattr(import_module(f"lesionlens.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *globals()])
