"""Codes by which DICOM objects say what their numbers are, for writing them and reading them back."""

from __future__ import annotations

from pydicom.sr.coding import Code

from lesionlens.heatmap import Kind

__all__ = ["KINDS", "SCHEME", "VERDICTS"]

# Designator of the codes of LesionLens, for what the standard has no code for.
SCHEME = "99LESIONLENS"

NO_UNITS = Code("1", "UCUM", "no units")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
MILLIMETRE = Code("mm", "UCUM", "mm")
MILLIMETRE2 = Code("mm2", "UCUM", "square millimeter")
MILLIMETRE3 = Code("mm3", "UCUM", "cubic millimeter")

VOLUME = Code("118565006", "SCT", "Volume")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
DIAMETER = Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
SURFACE = Code("C0JK", "IBSI", "Surface Area of Mesh")
SPHERICITY = Code("QCFX", "IBSI", "Sphericity")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
MR_SIGNAL = Code("110852", "DCM", "MR signal intensity")
SIGNAL = Code("signal-intensity", SCHEME, "Signal intensity")
PROBABILITY = Code("122157", "DCM", "Probability")
ATTRIBUTION = Code("130402", "DCM", "Class activation")
ATTRIBUTION_SHARE = Code("attribution-share", SCHEME, "Share of the positive attribution")

MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MINIMUM = Code("255605001", "SCT", "Minimum")
MEDIAN = Code("373099004", "SCT", "Median")
MAXIMUM = Code("56851009", "SCT", "Maximum")

READERS_VERDICT = Code("readers-verdict", SCHEME, "Reader's verdict")
VERDICTS = {verdict: Code(verdict, SCHEME, verdict) for verdict in ("accept", "reject", "unsure")}

FRACTIONAL = Code("110854", "DCM", "Fractional Probabilistic Segmentation")
CLASS_ACTIVATION = ATTRIBUTION
GRADIENT_WEIGHTED = Code("130403", "DCM", "Gradient-weighted class activation")
SALIENCY = Code("130404", "DCM", "Saliency")
BAYESIAN = Code("113270", "DCM", "Bayesian-Probability")

# What the quantities of parametric maps are here.
KINDS: dict[tuple[str, str], Kind] = {
    **{(code.scheme_designator, code.value): "attribution" for code in (CLASS_ACTIVATION, GRADIENT_WEIGHTED, SALIENCY)},
    **{(code.scheme_designator, code.value): "probability" for code in (FRACTIONAL, BAYESIAN, PROBABILITY)},
}
