"""Draw simulated heads and keep them on disk, for training runs to cut patches from.

``python training/subjects.py --data DIR --seed 0 --number 120 --out runs/subjects``; several may run side by side with
different seeds. A head takes some seconds, a patch from it milliseconds: every run shares the same heads, and one that
leaves a patient out reads only the files of the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from simulate import MIX, MRICRON, Mix, Subject, draw_subject, load_world

PATIENTS = ("patient07", "patient19")


def save_subject(subject: Subject, path: Path) -> None:
    """Write image and lesion share as one float16 array (2, i, j, k); never half a file under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    np.save(hidden, np.stack([subject.image, subject.lesions]).astype(np.float16))
    hidden.replace(path)


def load_subject(path: Path) -> Subject:
    """Map one head into memory; runs side by side share it."""
    image, lesions = np.load(path, mmap_mode="r")
    return Subject(image, lesions, path.stem)


def subject_files(folder: Path, *, without: str | None = None) -> list[Path]:
    """List the heads of a folder, without those made from one patient's image or carrying its lesions."""
    return sorted(p for p in folder.glob("[!.]*.npy") if without is None or without not in p.name)


def main() -> None:
    """Draw and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mricron", type=Path, default=MRICRON)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=120)
    parser.add_argument(
        "--original", type=float, default=MIX.original, help="share of patients' heads left as they are"
    )
    parser.add_argument(
        "--lesion-free", type=float, default=MIX.lesion_free, help="share of the others without lesions"
    )
    parser.add_argument(
        "--transplanted", type=float, default=MIX.transplanted, help="share of the rest with a patient's lesions, moved"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    world = load_world(options.data, list(PATIENTS), mricron=options.mricron)
    mix = Mix(options.original, options.lesion_free, options.transplanted)
    for number in range(options.number):
        subject = draw_subject(world, rng, mix=mix)
        save_subject(subject, options.out / f"{subject.source.replace(' ', '-')}-{options.seed}-{number:04d}.npy")


if __name__ == "__main__":
    main()
