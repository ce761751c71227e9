"""What an anomaly bundle says about its score; nothing here loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from lesionlens.errors import BundleError

__all__ = ["AnomalyMethod", "AnomalySpec", "Deviation", "anomaly_spec"]

AnomalyMethod = Literal["reconstruction", "gaussian", "nearest", "template"]
Deviation = Literal["both", "brighter", "darker"]


@dataclass(frozen=True)
class AnomalySpec:
    """How a bundle's network becomes a score for each voxel: ``lesionlens.anomaly`` in its ``metadata.json``.

    Parameters
    ----------
    method
        ``"reconstruction"``: input minus the network's output; ``"gaussian"``: distance of features from a Gaussian
        (PaDiM), ``"nearest"``: from the nearest kept feature (PatchCore); ``"template"``: z-score against a mean and
        standard deviation at each place.
    label
        What the map is called.
    deviation
        Which side of what is expected counts: ``"brighter"``, ``"darker"``, or ``"both"``; of features always both.
    smooth_mm
        Standard deviation of the Gaussian that differences are smoothed by, in mm; 0 for none.
    layers
        Layers whose features are compared, for the two methods of features.
    above
        Only where the network's input is above this is anything judged, and counted in the reference; None for
        everywhere. Elsewhere the map is 0.
    level
        Share of the reference's voxels whose score lies below 1: the unit of the map.
    """

    method: AnomalyMethod
    label: str = "anomaly"
    deviation: Deviation = "both"
    smooth_mm: float = 0.0
    layers: tuple[str, ...] = ()
    above: float | None = None
    level: float = 0.999

    def __post_init__(self) -> None:
        _check_choice("method", self.method, get_args(AnomalyMethod))
        _check_choice("deviation", self.deviation, get_args(Deviation))
        if self.of_features != bool(self.layers):
            needed = "needs layers" if self.of_features else "has no use for layers"
            raise BundleError(f"lesionlens.anomaly in metadata.json: the method {self.method!r} {needed}.")
        if not 0.5 <= self.level < 1:
            raise BundleError(f"lesionlens.anomaly.level in metadata.json lies in [0.5, 1); found {self.level:g}.")
        if not self.smooth_mm >= 0:
            raise BundleError(f"lesionlens.anomaly.smooth_mm in metadata.json is not negative; found {self.smooth_mm}.")

    @property
    def of_features(self) -> bool:
        """Whether features of layers are compared, instead of intensities."""
        return self.method in ("gaussian", "nearest")


def anomaly_spec(metadata: Mapping[str, Any]) -> AnomalySpec | None:
    """Read what a bundle's metadata say of anomaly, or return None where they say nothing.

    Raises
    ------
    BundleError
        If it is not what :class:`AnomalySpec` describes.
    """
    own = metadata.get("lesionlens")
    stated = own.get("anomaly") if isinstance(own, dict) else None
    if stated is None:
        return None
    known = {field.name for field in fields(AnomalySpec)}
    if not isinstance(stated, dict) or "method" not in stated or set(stated) - known:
        raise BundleError(
            f"lesionlens.anomaly in metadata.json is an object with a method, and may have {', '.join(sorted(known))};"
            f" found {stated!r}."
        )
    try:
        numbers = {
            name: float(stated[name]) for name in ("smooth_mm", "above", "level") if stated.get(name) is not None
        }
        layers = tuple(map(str, stated.get("layers", ())))
    except (TypeError, ValueError) as error:
        raise BundleError(f"lesionlens.anomaly in metadata.json holds no numbers where they belong: {error}.") from None
    return AnomalySpec(**{**stated, **numbers, "layers": layers})


def _check_choice(name: str, found: object, choices: tuple[str, ...]) -> None:
    if found not in choices:
        raise BundleError(
            f"lesionlens.anomaly.{name} in metadata.json is one of {', '.join(choices)}; found {found!r}."
        )
