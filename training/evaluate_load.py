"""Evaluate ``flair-lesion-load`` through its bundle's own preprocessing.

``python training/evaluate_load.py --data DIR --weights runs/load/model.pt --holdout patient19 --out load.json``

Test scans: the held-out patient as delivered; lesion masks that no training run has seen, painted into the held-out
patient's in-painted brain and into the templates; the same brains without lesions. Every brain bare and with a skull in
thick slices.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser

from anatomy import Head, colin_head, icbm_head, lesion_library, real_head
from evaluate_flair import TEST_LOOK, Case, Slices, fill_card, mni_affine, skulled, thick
from flair_lesion_load import BUNDLE, CLASSES, load_class
from healthy import simulated_flair
from lesions import fit_to_tissue, paint
from simulate import MRICRON
from subjects import PATIENTS


class Classifier:
    """The bundle's preprocessing and network with given weights."""

    def __init__(self, weights: Path) -> None:
        parser = ConfigParser(json.loads((BUNDLE / "configs/inference.json").read_text()))
        parser["device"] = "$torch.device('cpu')"
        self._before, self._network = parser.get_parsed_content("preprocessing"), parser.get_parsed_content("network")
        self._network.load_state_dict(torch.load(weights, weights_only=True))
        self._network.eval()

    def __call__(self, case: Case) -> np.ndarray:
        """Probability of each class, (3,) float32."""
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            path = Path(folder) / "scan.nii.gz"
            nib.save(nib.Nifti1Image(case.image.astype(np.float32), case.affine), path)
            return self._network(self._before({"image": str(path)})["image"][None]).softmax(1)[0].numpy()


def test_cases(heads: list[Head], colin: Head, library: dict[str, np.ndarray]) -> list[tuple[Case, float]]:
    """Paint test masks, and nothing at all, into every head; each scan with its lesion volume in mL at 1 mm."""
    out = []
    for number, head in enumerate(heads):
        rng = np.random.default_rng(number)
        for name, mask in [("no lesions", np.zeros(head.gm.shape, bool)), *library.items()]:
            image = simulated_flair(head, rng) if head.flair is None else head.flair
            lesions = fit_to_tissue(mask, head, rng)
            plain = Case(f"{name} in {head.name}", paint(image, lesions, TEST_LOOK, rng), lesions, mni_affine())
            skull = skulled(plain, head, colin, seed=number)
            volume_ml = float(lesions.sum()) / 1000
            out += [(case, volume_ml) for case in (plain, skull, thick(skull, Slices(2, 5.0, 4.5)))]
    return out


def evaluate(options: argparse.Namespace) -> dict[str, object]:
    """Classify all test scans: confusion matrix, accuracy, every case."""
    colin, library = colin_head(options.mricron), lesion_library(options.data, test=True)
    real = [real_head(options.data, p) for p in PATIENTS]
    unseen = [h for h in real if h.name == options.holdout]
    classify = Classifier(options.weights)
    confusion = np.zeros((3, 3), int)
    rows, scans = {}, {}
    for case, true_ml in test_cases([*unseen, icbm_head(), colin], colin, library):
        probability = classify(case)
        confusion[load_class(true_ml), int(probability.argmax())] += 1
        rows[case.name] = {"true_ml": round(true_ml, 2), "probabilities": probability.round(3).tolist()}
    for head in real:
        plain = Case(head.name, head.original, head.lesions, mni_affine())
        for case in (plain, thick(skulled(plain, head, colin, seed=1))):
            seen = "" if head in unseen else " (seen in training)"
            true_ml = round(float(head.lesions.sum()) / 1000, 1)
            scans[case.name + seen] = {"true_ml": true_ml, "probabilities": classify(case).round(3).tolist()}
    balanced = float(np.mean(np.diag(confusion) / np.maximum(confusion.sum(1), 1)))
    return {
        "classes": CLASSES,
        "confusion_rows_true": confusion.tolist(),
        "accuracy": round(float(np.trace(confusion) / confusion.sum()), 3),
        "balanced_accuracy": round(balanced, 3),
        "real": scans,
        "cases": rows,
    }


def card_tables(figures: dict) -> str:
    """Write confusion matrix and real scans as Markdown for the model card."""
    rows = ["| truth | " + " | ".join(f"called {c}" for c in CLASSES) + " |", "|---" * 4 + "|"]
    for name, counts in zip(CLASSES, figures["confusion_rows_true"], strict=True):
        rows.append(f"| {name} | " + " | ".join(map(str, counts)) + " |")
    rows += ["", f"Accuracy {figures['accuracy']:.2f}, mean over the classes {figures['balanced_accuracy']:.2f}.", ""]
    rows += ["| real lesions | true mL | none | low | high |", "|---" * 5 + "|"]
    for name, case in figures["real"].items():
        rows.append(f"| {name} | {case['true_ml']} | " + " | ".join(f"{p:.2f}" for p in case["probabilities"]) + " |")
    return "\n".join(rows)


def main() -> None:
    """Parse the command line, evaluate, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mricron", type=Path, default=MRICRON)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--holdout", choices=PATIENTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="model card whose tables are replaced")
    options = parser.parse_args()
    figures = evaluate(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1))
    if options.card:
        fill_card(options.card, card_tables(figures))
    print({k: v for k, v in figures.items() if k != "cases"})


if __name__ == "__main__":
    main()
