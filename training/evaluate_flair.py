"""Evaluate ``flair-lesions`` through its bundle, as a user runs it: NIfTI in, probability on the scan's own grid out.

``python training/evaluate_flair.py --data DIR --loo patient19=runs/loo19/model.pt --loo patient07=runs/loo07/model.pt
--out runs/evaluation.json --plot reliability.png``

Each leave-one-out network sees only the patient it has not been trained on. The simulated lesions come from masks that
no training run has seen. ``--final WEIGHTS`` adds what can be said about the final network: simulated cases only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from scipy import ndimage

from acquisition import Slices, thick_slices
from anatomy import ORIGIN_RAS, Head, colin_head, icbm_head, lesion_library, real_head
from flair_lesions import BUNDLE
from healthy import add_skull, simulated_flair
from lesions import Look, fit_to_tissue, paint
from metrics import Reliability, case_figures
from simulate import MRICRON

#: The look of simulated test lesions: median brightness and borders as measured on the two real patients.
TEST_LOOK = Look(contrast=0.45, spread=0.2, mottle=0.15, core=0.1, edge_mm=0.5, halo=0.1)
THICK = Slices(axis=2, spacing_mm=8.0, thickness_mm=7.0)


#: Markers of a model card between which this script writes.
BEGIN, END = "<!-- figures: training/evaluate -->", "<!-- /figures -->"


@dataclass(frozen=True)
class Case:
    """A scan with its truth on its own grid: image (i, j, k) float32, truth (i, j, k) bool, affine RAS mm."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    affine: np.ndarray

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


class Predictor:
    """The bundle's own preprocessing, network, inferer and inversion, with given weights."""

    def __init__(self, weights: Path, bundle: Path = BUNDLE) -> None:
        parser = ConfigParser(json.loads((bundle / "configs/inference.json").read_text()))
        parser["bundle_root"] = str(bundle)
        parser["device"] = "$torch.device('cpu')"
        parser["postprocessing"]["transforms"] = parser["postprocessing"]["transforms"][:2]
        self._before, self._after = (parser.get_parsed_content(k) for k in ("preprocessing", "postprocessing"))
        self._network, self._inferer = (parser.get_parsed_content(k) for k in ("network", "inferer"))
        self._network.load_state_dict(torch.load(weights, weights_only=True))
        self._network.eval()

    def __call__(self, case: Case) -> np.ndarray:
        """Lesion probability on the case's grid, (i, j, k) float32."""
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
            path = Path(folder) / "scan.nii.gz"
            nib.save(nib.Nifti1Image(case.image, case.affine), path)
            item = self._before({"image": str(path)})
            item["pred"] = self._inferer(item["image"][None], self._network)[0]
            return np.asarray(self._after(item)["pred"][1])


def mni_affine() -> np.ndarray:
    """Affine of the common 1 mm grid."""
    affine = np.eye(4)
    affine[:3, 3] = ORIGIN_RAS
    return affine


def thick(case: Case, slices: Slices = THICK) -> Case:
    """Cut the same head into thick slices; truth where at least half of a slice's profile is lesion."""
    image, mean = thick_slices(case.image, case.truth.astype(np.float32), slices, offset_mm=slices.spacing_mm / 2)
    affine = case.affine.copy()
    affine[:3, 3] += affine[:3, slices.axis] * slices.spacing_mm / 2
    affine[:3, slices.axis] *= slices.spacing_mm
    image, truth = (np.moveaxis(a, 0, slices.axis) for a in (image, mean >= 0.5))
    return Case(f"{case.name}, {slices.spacing_mm:g} mm slices", image, truth, affine)


def skulled(case: Case, head: Head, colin: Head, *, seed: int) -> Case:
    """Put the same brain inside Colin27's head, with noisy air."""
    rng = np.random.default_rng(seed)
    image = add_skull(case.image, head.brain, colin, rng)
    noise = 0.03 * rng.standard_normal((2, *image.shape)).astype(np.float32)
    return Case(f"{case.name}, skull {seed}", np.hypot(image + noise[0], noise[1]), case.truth, case.affine)


def real_cases(head: Head, colin: Head) -> list[Case]:
    """List a patient as delivered, and with a skull in thick slices."""
    assert head.original is not None
    assert head.lesions is not None
    plain = Case(head.name, head.original, head.lesions, mni_affine())
    return [plain, thick(skulled(plain, head, colin, seed=1)), thick(skulled(plain, head, colin, seed=2))]


def lesion_free_cases(heads: list[Head], colin: Head) -> list[Case]:
    """Brains without lesions: in-painted real ones and simulated ones, bare, with skull, in thick slices."""
    out = []
    for number, head in enumerate(heads):
        image = simulated_flair(head, np.random.default_rng(50)) if head.flair is None else head.flair
        plain = Case(f"{head.name}, lesion-free", image, np.zeros(image.shape, bool), mni_affine())
        skull = skulled(plain, head, colin, seed=20 + number)
        out += [plain, skull, thick(skull)]
    return out


def simulated_cases(heads: list[Head], colin: Head, library: dict[str, np.ndarray]) -> list[Case]:
    """Unseen lesion masks painted into lesion-free brains; every second one with a skull and thick slices."""
    out = []
    for number, (name, mask) in enumerate(library.items()):
        head = heads[number % len(heads)]
        rng = np.random.default_rng(100 + number)
        image = simulated_flair(head, rng) if head.flair is None else head.flair
        lesions = fit_to_tissue(mask, head, rng)
        plain = Case(f"mask of {name} in {head.name}", paint(image, lesions, TEST_LOOK, rng), lesions, mni_affine())
        out += [plain, thick(skulled(plain, head, colin, seed=200 + number))]
    return out


def regridded(case: Case, spacing_mm: tuple[float, float, float], name: str) -> Case:
    """Resample to another voxel size with the smoothing that fits it; truth where half is lesion."""
    sigma = [max(0.0, 0.42 * (s - 1)) for s in spacing_mm]
    zoom = [n / (n * s) for n, s in zip((1, 1, 1), spacing_mm, strict=True)]
    image = ndimage.zoom(ndimage.gaussian_filter(case.image, sigma), zoom, order=1, grid_mode=True, mode="nearest")
    mean = ndimage.gaussian_filter(case.truth.astype(np.float32), sigma)
    truth = ndimage.zoom(mean, zoom, order=1, grid_mode=True, mode="nearest") >= 0.5
    actual = np.array(case.image.shape) / np.array(image.shape)
    affine = case.affine.copy()
    affine[:3, :3] = case.affine[:3, :3] * actual
    affine[:3, 3] += case.affine[:3, :3] @ ((actual - 1) / 2)
    return Case(name, image, truth, affine)


def turned(case: Case, codes: str) -> Case:
    """Store the same scan in another axis order and direction."""
    image = nib.Nifti1Image(case.image, case.affine)
    truth = nib.Nifti1Image(case.truth.astype(np.uint8), case.affine)
    transform = nib.orientations.ornt_transform(nib.io_orientation(case.affine), nib.orientations.axcodes2ornt(codes))
    image, truth = image.as_reoriented(transform), truth.as_reoriented(transform)
    return Case(f"stored as {codes}", np.asarray(image.dataobj), np.asarray(truth.dataobj) > 0, image.affine)


def oblique(case: Case, degrees: float) -> Case:
    """Give the same voxels a tilted affine (the head lies tilted in the scanner)."""
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return Case(f"tilted by {degrees:g} degrees", case.image, case.truth, turn @ case.affine)


def robustness_cases(case: Case) -> list[Case]:
    """One scan at other voxel sizes, orientations, tilts and intensity scales."""
    sizes = ((0.7, 0.7, 0.7), (1.0, 1.0, 3.0), (0.9, 0.9, 5.0), (5.0, 0.9, 0.9), (1.5, 1.5, 1.5))
    out = [regridded(case, s, f"{s[0]:g} x {s[1]:g} x {s[2]:g} mm") for s in sizes]
    out += [turned(case, "LPS"), turned(case, "PIR"), oblique(case, 12)]
    out += [Case(f"intensity x {f:g}", case.image * f, case.truth, case.affine) for f in (1e-3, 1e3)]
    padded = np.pad(case.image, 40)
    affine = case.affine.copy()
    affine[:3, 3] -= case.affine[:3, :3] @ [40, 40, 40]
    return [*out, Case("40 mm of empty border", padded, np.pad(case.truth, 40), affine)]


def run_cases(predictor: Predictor, cases: list[Case], reliability: Reliability | None = None) -> dict[str, object]:
    """Predict and measure a list of cases: name -> figures."""
    out = {}
    for case in cases:
        begin = time.monotonic()
        probability = predictor(case)
        out[case.name] = {
            **case_figures(probability, case.truth, case.voxel_mm3),
            "seconds": round(time.monotonic() - begin, 1),
        }
        if reliability is not None:
            reliability.add(probability, case.truth)
        print(case.name, {k: v for k, v in out[case.name].items() if k != "lesions"}, flush=True)
    return out


def evaluate(options: argparse.Namespace) -> dict[str, object]:
    """Run everything the options ask for."""
    colin, library = colin_head(options.mricron), lesion_library(options.data, test=True)
    out: dict[str, object] = {}
    real, simulated = Reliability(), Reliability()
    for patient, weights in (item.split("=", 1) for item in options.loo):
        head, predictor = real_head(options.data, patient), Predictor(Path(weights))
        cases = real_cases(head, colin)
        out[f"trained without {patient}"] = {
            "real": run_cases(predictor, cases, real),
            "robustness": run_cases(predictor, robustness_cases(cases[0])) if options.robustness else {},
            "lesion-free": run_cases(predictor, lesion_free_cases([head, icbm_head()], colin)),
            "simulated": run_cases(predictor, simulated_cases([head], colin, library), simulated),
        }
    if options.final:
        predictor, templates = Predictor(options.final), [icbm_head(), colin]
        out["as shipped"] = {
            "lesion-free": run_cases(predictor, lesion_free_cases(templates, colin)),
            "simulated": run_cases(predictor, simulated_cases(templates, colin, library)),
        }
    if options.loo:
        out["calibration"] = {"real": real.figures(), "simulated": simulated.figures()}
    return out


def fill_card(card: Path, tables: str) -> None:
    """Replace what stands between the markers of a model card."""
    before, rest = card.read_text().split(BEGIN)
    card.write_text(f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}")


def lesion_table(cases: list[dict]) -> str:
    """Sum lesion counts over cases into a Markdown table."""
    rows = ["| size | lesions | found | false positives |", "|---|---|---|---|"]
    for size in cases[0]["lesions"]:
        total = {k: sum(c["lesions"][size][k] for c in cases) for k in ("lesions", "found", "false")}
        share = f" ({100 * total['found'] / total['lesions']:.0f} %)" if total["lesions"] else ""
        rows.append(f"| {size} | {total['lesions']} | {total['found']}{share} | {total['false']} |")
    return "\n".join(rows)


def case_table(cases: dict[str, dict]) -> str:
    """Write the cases' figures as a Markdown table."""
    rows = ["| case | Dice | true mL | predicted mL | false positive mL |", "|---|---|---|---|---|"]
    for name, c in cases.items():
        overlap = "–" if c["dice"] is None else f"{c['dice']:.2f}"
        rows.append(f"| {name} | {overlap} | {c['true_ml']} | {c['predicted_ml']} | {c['false_positive_ml']} |")
    return "\n".join(rows)


def card_tables(figures: dict) -> str:
    """Write everything as Markdown for the model card."""
    parts = []
    for network, groups in figures.items():
        if network == "calibration":
            continue
        for group, cases in groups.items():
            if cases:
                parts.append(f"### Network {network}: {group}\n\n{case_table(cases)}")
            if cases and group in ("real", "simulated"):
                parts.append(f"Lesions by size, all of these cases:\n\n{lesion_table(list(cases.values()))}")
    return "\n\n".join(parts)


def plot_reliability(figures: dict, path: Path) -> None:
    """Draw predicted probability against observed lesion share."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(4.2, 4))
    ax.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for name, colour in (("real", "tab:blue"), ("simulated", "tab:orange")):
        curve = figures[name]
        ax.plot(
            curve["predicted"],
            curve["observed"],
            "o-",
            color=colour,
            markersize=4,
            label=f"{name} (ECE {curve['expected_calibration_error']:.3f})",
        )
    ax.set(xlabel="predicted lesion probability", ylabel="share of voxels that are lesion", xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="upper left", frameon=False, fontsize=8)
    ax.set_title("networks that have not seen the patient, voxels with p > 0.01", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Parse the command line, evaluate, write JSON and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mricron", type=Path, default=MRICRON)
    parser.add_argument("--loo", action="append", default=[], metavar="PATIENT=WEIGHTS")
    parser.add_argument("--final", type=Path)
    parser.add_argument("--robustness", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--card", type=Path, help="model card whose tables are replaced")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = evaluate(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1))
    if options.card:
        fill_card(options.card, card_tables(figures))
    if options.plot and "calibration" in figures:
        plot_reliability(figures["calibration"], options.plot)


if __name__ == "__main__":
    main()
