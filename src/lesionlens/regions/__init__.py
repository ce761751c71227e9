"""Regions: connected sets of voxels of a heatmap at or above a threshold, and their statistics.

>>> regions = measure(volume, probability, threshold=0.5)         # doctest: +SKIP
>>> regions[0].volume_mm3, regions[0].centroid_ras                # doctest: +SKIP

``labelling`` finds them, ``measuring`` measures them in one pass, ``shape`` and ``surroundings`` one by one.
"""

from lesionlens.regions.change import LesionChange, LesionChanges, compare_regions
from lesionlens.regions.classes import MeasuredClasses, measure_class, measure_classes
from lesionlens.regions.labelling import FoundRegions, check_same_grid, find_regions, label_regions
from lesionlens.regions.measuring import measure
from lesionlens.regions.shape import Segment, Shape, measure_shapes
from lesionlens.regions.surroundings import Surroundings, measure_surroundings
from lesionlens.regions.values import FEW_VOXELS, PROBABILITIES, Region, Statistics

__all__ = [
    "FEW_VOXELS",
    "PROBABILITIES",
    "FoundRegions",
    "LesionChange",
    "LesionChanges",
    "MeasuredClasses",
    "Region",
    "Segment",
    "Shape",
    "Statistics",
    "Surroundings",
    "check_same_grid",
    "compare_regions",
    "find_regions",
    "label_regions",
    "measure",
    "measure_class",
    "measure_classes",
    "measure_shapes",
    "measure_surroundings",
]
