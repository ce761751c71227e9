"""From a bundle and a volume to heatmaps: the only place that knows MONAI.

Names are fetched when first used, so that listing the embedded bundles does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lesionlens.model.anomaly.scoring import score_anomaly
    from lesionlens.model.bundle import Bundle, load_bundle
    from lesionlens.model.catalogue import BundleInfo, list_bundles
    from lesionlens.model.detection import detect
    from lesionlens.model.explanation import explain
    from lesionlens.model.importance import channel_importance, check_question, label_importance
    from lesionlens.model.prediction import classify, predict
    from lesionlens.model.sampling import uncertainty
    from lesionlens.model.wish import Wish

_HOME = {
    "Bundle": "bundle",
    "BundleInfo": "catalogue",
    "Wish": "wish",
    "channel_importance": "importance",
    "check_question": "importance",
    "classify": "prediction",
    "detect": "detection",
    "explain": "explanation",
    "label_importance": "importance",
    "list_bundles": "catalogue",
    "load_bundle": "bundle",
    "predict": "prediction",
    "score_anomaly": "anomaly.scoring",
    "uncertainty": "sampling",
}

__all__ = [
    "Bundle",
    "BundleInfo",
    "Wish",
    "channel_importance",
    "check_question",
    "classify",
    "detect",
    "explain",
    "label_importance",
    "list_bundles",
    "load_bundle",
    "predict",
    "score_anomaly",
    "uncertainty",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'lesionlens.model' has no attribute {name!r}")
    value = getattr(import_module(f"lesionlens.model.{_HOME[name]}"), name)
    globals()[name] = value
    return value
