"""A region and its statistics, as values."""

from __future__ import annotations

from dataclasses import dataclass

from lesionlens.regions.shape import Shape
from lesionlens.regions.surroundings import Surroundings

__all__ = ["FEW_VOXELS", "PROBABILITIES", "Region", "Statistics"]

# How much of a region has at least these probabilities says how sharply the model draws its border.
PROBABILITIES = (0.5, 0.7, 0.9)
# Below 2 x 2 x 2 voxels a region has no inside: each voxel is at its border, and one more or less is half its volume.
FEW_VOXELS = 8

Point = tuple[float, float, float]
Index = tuple[int, int, int]


@dataclass(frozen=True)
class Statistics:
    """Mean, spread and order statistics of the voxels of a region, in the unit of the volume.

    Parameters
    ----------
    mean
        Arithmetic mean.
    sd
        Population standard deviation (divided by n), as radiology packages report it; 0 for one voxel.
    min, median, max
        Of an even number of voxels the median is the mean of the middle two.
    p10, p90
        10th and 90th percentile, interpolated linearly between voxels.
    """

    mean: float
    sd: float
    min: float
    median: float
    max: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Region:
    """A connected set of voxels and its statistics.

    Parameters
    ----------
    label
        The region's value in the label array; 1 is the largest.
    n_voxels
        Number of voxels.
    volume_mm3
        ``n_voxels`` times the voxel volume (determinant of the affine, right for sheared grids too).
    centroid_ijk
        Mean voxel index, unweighted, with fractions. It may lie outside a region that is not convex.
    centroid_ras
        The same in world mm, RAS+.
    bbox_ijk
        First and last voxel index along (i, j, k), **both inclusive**; :attr:`slices` cuts the box out of an array.
    bbox_ras
        Lowest and highest world coordinate in mm, RAS+, along each axis, over the outer faces of the region's voxels.
    peak_ijk, peak_ras
        Voxel with the highest value of the measured heatmap, as index and in world mm; the first in array order when
        several share it.
    intensity
        Of the scan.
    probability_mean, probability_max
        Of the measured heatmap, in [0, 1]; None when it is not a probability map.
    attribution_mean
        Signed mean of the attribution map; None without one.
    attribution_share
        Sum of the positive attribution inside the region, divided by the sum of the positive attribution in the whole
        volume, in [0, 1]; None without an attribution map or when that map is positive nowhere.
    touches_border
        True when a voxel lies on an outer face of the grid, or beside a voxel without data: the region may be cut off
        and larger than measured.
    centroid_weighted_ras
        Centroid weighted by the intensities, world mm; None where one of them is negative (CT) or all are zero.
    probability_integral_mm3
        Sum of the probabilities times the voxel volume: the volume to be expected if they are calibrated.
    volumes_at_mm3
        Volume of the part with a probability of at least each of :data:`PROBABILITIES`.
    attribution_peak
        Highest attribution in the region.
    uncertainty_mean
        Mean of the uncertainty map.
    anomaly_mean, anomaly_max
        Of the measured heatmap where it is an anomaly map, in its unit; else None.
    anatomy
        Anatomical labels that the region lies in, with their share of its voxels, largest first. Shares add up to less
        than 1 where a part lies in none.
    one_slice
        True when the region is one voxel thick along an axis of the grid.
    few_voxels
        True for less than :data:`FEW_VOXELS` voxels: too few to measure a volume or a shape.
    resampled
        True when the scan was brought to a regular grid on reading: its voxels are interpolated.
    below_attribution_cell
        True when the region has less volume than a cell of the layer that the attribution map was made from: nothing
        in the map can be told apart from its surroundings. None without an attribution map or such a layer.
    shape
        Mesh, diameters and axes, where asked for.
    surroundings
        The shell around the region, where asked for.
    """

    label: int
    n_voxels: int
    volume_mm3: float
    centroid_ijk: Point
    centroid_ras: Point
    bbox_ijk: tuple[Index, Index]
    bbox_ras: tuple[Point, Point]
    peak_ijk: Index
    peak_ras: Point
    intensity: Statistics
    probability_mean: float | None
    probability_max: float | None
    attribution_mean: float | None
    attribution_share: float | None
    touches_border: bool
    centroid_weighted_ras: Point | None = None
    probability_integral_mm3: float | None = None
    volumes_at_mm3: tuple[float, ...] | None = None
    attribution_peak: float | None = None
    uncertainty_mean: float | None = None
    anomaly_mean: float | None = None
    anomaly_max: float | None = None
    anatomy: tuple[tuple[str, float], ...] = ()
    one_slice: bool = False
    few_voxels: bool = False
    resampled: bool = False
    below_attribution_cell: bool | None = None
    shape: Shape | None = None
    surroundings: Surroundings | None = None

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut the bounding box out of an (i, j, k) array."""
        first, last = self.bbox_ijk
        return slice(first[0], last[0] + 1), slice(first[1], last[1] + 1), slice(first[2], last[2] + 1)
