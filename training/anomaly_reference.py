"""Give ``flair-anomaly`` its scale: scan lesion-free heads that its training has not seen, and fit the reference.

``python training/anomaly_reference.py --subjects runs/reference --bundle flair-anomaly``

Every head is scanned once, as the patches of the training are: half of them in thick slices, all with their own bias
field, noise and contrast curve.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import lesionlens as ll
from acquisition import draw_slices, scan
from evaluate_flair import mni_affine
from lesionlens.anomaly_reference import reference_path, write_reference
from lesionlens.model.anomaly.fitting import fit_reference
from lesionlens.volume import Grid, Volume
from subjects import load_subject, subject_files


def reference_scans(folder: Path, rng: np.random.Generator, *, without: str | None) -> list[Volume]:
    """Scan the heads of a folder, each in its own way."""
    out = []
    for path in subject_files(folder, without=without):
        head = load_subject(path)
        arrays = (np.asarray(a, np.float32) for a in (head.image, head.lesions))
        image, _ = scan(*arrays, rng, slices=draw_slices(rng) if rng.random() < 0.5 else None)
        out.append(Volume(image, Grid(image.shape, mni_affine()), path.stem))
    return out


def main() -> None:
    """Parse the command line, scan and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=Path, required=True, help="folder of lesion-free heads by subjects.py")
    parser.add_argument("--without", help="leave out all heads made from this patient")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bundle = ll.load_bundle(options.bundle, trust=True)
    scans = reference_scans(options.subjects, np.random.default_rng(options.seed), without=options.without)
    reference = fit_reference(bundle, scans)
    write_reference(reference, reference_path(options.bundle), overwrite=True)
    for level, score in zip(reference.levels, reference.scores, strict=True):
        print(f"{100 * level:g} % of {reference.n_voxels} voxels of {reference.n_scans} scans lie below {score:.4f}")


if __name__ == "__main__":
    main()
