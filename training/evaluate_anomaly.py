"""Evaluate ``flair-anomaly`` through its bundle, as a user runs it, against the best trivial map.

``python training/evaluate_anomaly.py --data DIR --bundle FOLDER --out FIGURES.json [--card README.md]``

The trivial map is the intensity itself, in the bundle's own normalisation, in which white matter is 1: on FLAIR lesions
are bright, and a z-score against any mean and standard deviation ranks voxels as the intensity does. Voxels of air and
dark CSF, which the bundle does not judge, count in neither. An average precision has to be read beside the share of
voxels that are lesion, which is what a random map reaches.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

import lesionlens as ll
from anatomy import colin_head, icbm_head, real_head
from evaluate_flair import Case, fill_card, lesion_free_cases, real_cases
from lesionlens.model.anomaly.scoring import judged_part
from lesionlens.model.preprocess import prepare
from lesionlens.volume import Grid, Volume
from simulate import MRICRON
from subjects import PATIENTS


def as_volume(case: Case) -> Volume:
    """Hand a case over as a scan."""
    return Volume(case.image.astype(np.float32), Grid(case.image.shape, case.affine), case.name)


def figures_of(bundle: ll.Bundle, case: Case) -> dict[str, object]:
    """Score a case, and rank its voxels by the map and by the intensity."""
    volume = as_volume(case)
    prepared = prepare(bundle, volume)
    scores = ll.score_anomaly(bundle, volume).array
    part = prepared.to_scan(judged_part(bundle, prepared).astype(np.float32), prepared.grid) > 0.5
    truth = case.truth[part]
    above = float((scores >= 1).sum()) * case.voxel_mm3 / 1000
    out: dict[str, object] = {
        "above_1_ml": round(above, 2),
        "share_above_1": round(float((scores[part] >= 1).mean()), 5),
    }
    if not truth.any():
        return out
    maps = {"anomaly": scores[part], "intensity": case.image[part]}
    for name, values in maps.items():
        out[f"{name}_ap"] = round(float(average_precision_score(truth, values)), 3)
        out[f"{name}_auroc"] = round(float(roc_auc_score(truth, values)), 3)
    return {"lesion_share": round(float(truth.mean()), 4), **out}


def card_tables(found: dict[str, dict[str, object]]) -> str:
    """Write the figures of cases as Markdown for the model card."""
    rows = [
        "| scan | lesion voxels | AP, map / intensity | AUROC, map / intensity | above 1, mL (share of the voxels) |",
        "|---|---|---|---|---|",
    ]
    for name, one in found.items():
        ranks = ["none", "", ""]
        if "lesion_share" in one:
            share = f"{100 * one['lesion_share']:.2f} %"
            ranks = [share, *(f"{one[f'anomaly_{kind}']} / {one[f'intensity_{kind}']}" for kind in ("ap", "auroc"))]
        above = f"{one['above_1_ml']} ({100 * one['share_above_1']:.2f} %)"
        rows.append(f"| {' | '.join([name, *ranks, above])} |")
    return "\n".join(rows)


def main() -> None:
    """Parse the command line, evaluate, write JSON and the model card's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mricron", type=Path, default=MRICRON)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="model card whose table is replaced")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    bundle, colin = ll.load_bundle(options.bundle, trust=True), colin_head(options.mricron)
    cases = [case for name in PATIENTS for case in real_cases(real_head(options.data, name), colin)]
    cases += lesion_free_cases([icbm_head(), colin], colin)
    found: dict[str, dict[str, object]] = {}
    for case in cases:
        found[case.name] = figures_of(bundle, case)
        print(case.name, found[case.name], flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    if options.card:
        fill_card(options.card, card_tables(found))


if __name__ == "__main__":
    main()
