"""Set the threshold and the certainty of finished weights: scale and shift the last layer, on heads outside the run.

The networks are nearly always certain, and what they miss at p = 0.5 costs more overlap than what they add. With
``margin`` the logit of lesion less that of background, the new one is ``scale * (margin - log(t / (1 - t)))``: what had
``p = t`` gets 0.5. ``calibrate.py --subjects runs/others --weights runs/final/model.pt`` prints what each pair of t and
scale gives on scans of painted heads; ``--threshold 0.3 --scale 0.4 --out calibrated.pt`` writes weights.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer

from acquisition import draw_slices, normalise, scan, stretch
from flair_lesions import build_network, dice, save
from metrics import Reliability
from subjects import load_subject, subject_files

THRESHOLDS, SCALES = (0.5, 0.4, 0.3, 0.2, 0.1), (1.0, 0.8, 0.6, 0.5, 0.4, 0.3)


def margins(network: torch.nn.Module, files: list[Path], rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
    """Scan each head in its own way: logit of lesion less background, and truth, (i, j, k) float32 and bool."""
    inferer = SlidingWindowInferer(96, overlap=0.25, mode="gaussian", cval=-2.0)
    out = []
    for path in files:
        subject = load_subject(path)
        image, lesions = (np.asarray(a, np.float32) for a in (subject.image, subject.lesions))
        image, label = normalise(*scan(image, lesions, rng, slices=draw_slices(rng)))
        with torch.inference_mode():
            logits = inferer(torch.from_numpy(stretch(image))[None, None], network)[0].numpy()
        out.append((logits[1] - logits[0], label))
    return out


def report(scans: list[tuple[np.ndarray, ...]]) -> None:
    """Print mean Dice of each threshold, and log loss and calibration error of each scale there."""
    for threshold in THRESHOLDS:
        at = math.log(threshold / (1 - threshold))
        print(f"t {threshold}: mean Dice {np.mean([dice(m > at, y) for m, y in scans]):.3f}")
        for scale in SCALES:
            reliability, loss = Reliability(), []
            for margin, label in scans:
                moved = scale * (margin - at)
                loss.append(float(np.mean(np.logaddexp(0, moved) - label * moved)))
                reliability.add(1 / (1 + np.exp(-moved)), label)
            error = reliability.figures()["expected_calibration_error"]
            print(f"  scale {scale}: log loss {1e3 * np.mean(loss):.2f} per mille, calibration error {error}")


def calibrate(network: torch.nn.Module, *, threshold: float, scale: float) -> None:
    """Change the last layer in place: what had p = ``threshold`` gets 0.5, margins become ``scale`` times theirs."""
    weight, bias = list(network.parameters())[-2:]
    half = math.log(threshold / (1 - threshold)) / 2
    with torch.no_grad():
        bias += torch.tensor([half, -half])
        weight *= scale
        bias *= scale


def main() -> None:
    """Parse the command line, and report or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=Path, help="heads that the run did not see")
    parser.add_argument("--number", type=int, default=15, help="how many of them to scan")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.5, help="probability that becomes 0.5")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all margins")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = build_network().eval()
    network.load_state_dict(torch.load(options.weights, weights_only=True))
    if options.subjects:
        rng = np.random.default_rng(3)
        files = [p for p in subject_files(options.subjects) if "painted" in p.name]
        report(margins(network, [files[n] for n in rng.permutation(len(files))[: options.number]], rng))
    if options.out:
        calibrate(network, threshold=options.threshold, scale=options.scale)
        save(network, options.out)


if __name__ == "__main__":
    main()
