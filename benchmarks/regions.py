"""Statistics of 400 regions in 52 million voxels, against scipy.ndimage called for each statistic.

    python benchmarks/regions.py [--rounds 3] [--json result.json]

Both are timed in turn on the same labels. "first order" is what one pass gives: volume, place, intensity, probability,
attribution, flags. "all" also measures meshes, diameters and surroundings, region by region.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.regions import label_regions, measure
from lesionlens.volume import Grid, Volume

SHAPE, N_REGIONS = (512, 512, 200), 400


def scene() -> tuple[Volume, Heatmap, Heatmap]:
    """Return a scan of noise with 400 balls of 2 to 9 mm in a probability map, none touching another."""
    rng = np.random.default_rng(0)
    grid = Grid(SHAPE, np.diag([0.8, 0.8, 1.5, 1.0]))
    probability = np.zeros(SHAPE, np.float32)
    cells = rng.permutation(np.stack(np.indices((16, 16, 6)), axis=-1).reshape(-1, 3))[:N_REGIONS]
    for cell in cells:
        centre, radius = (cell + 0.5) * (32, 32, 33), rng.uniform(2, 9)
        box = tuple(slice(int(c) - 12, int(c) + 12) for c in centre)
        points = (np.stack(np.indices((24, 24, 24)), axis=-1) - 12) * grid.spacing_mm
        probability[box] = np.where(np.linalg.norm(points, axis=-1) <= radius, 0.9, 0)
    noise = rng.normal(100, 10, SHAPE).astype(np.float32)
    return (
        Volume(noise, grid),
        Heatmap(Volume(probability, grid), "probability", "lesion", False, Provenance()),
        Heatmap(Volume(noise - 100, grid), "attribution", "lesion", True, Provenance()),
    )


def with_scipy(volume: Volume, probability: Heatmap, attribution: Heatmap) -> object:
    """Measure mean, deviation, extremes, median and centroid with one call each."""
    labels, n = ndimage.label(probability.array >= 0.5, np.ones((3, 3, 3)))
    index = np.arange(1, n + 1)
    scan = volume.array
    calls = (ndimage.mean, ndimage.standard_deviation, ndimage.minimum, ndimage.median, ndimage.maximum)
    return (
        [call(scan, labels, index) for call in calls],
        [call(probability.array, labels, index) for call in (ndimage.mean, ndimage.maximum)],
        [call(attribution.array, labels, index) for call in (ndimage.mean, ndimage.sum)],
        ndimage.center_of_mass(np.ones(SHAPE, np.uint8), labels, index),
        ndimage.find_objects(labels),
    )


def main(argv: list[str] | None = None) -> None:
    """Measure, print a line for each, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="each way runs once in a round")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    volume, probability, attribution = scene()
    labels = label_regions(probability, threshold=0.5)
    ways: dict[str, Callable[[], object]] = {
        "labelling": lambda: label_regions(probability, threshold=0.5),
        "first order": lambda: measure(volume, probability, attribution=attribution, labels=labels),
        "all": lambda: measure(volume, probability, attribution=attribution, labels=labels, shapes=True),
        "scipy.ndimage": lambda: with_scipy(volume, probability, attribution),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    found = {name: statistics.median(one) for name, one in times.items()}
    print(f"{int(labels.max())} regions in {labels.size / 1e6:.0f} million voxels")
    for name, seconds in found.items():
        print(f"{name:14} {seconds:6.2f} s  {seconds / found['scipy.ndimage']:6.3f} x scipy.ndimage")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
