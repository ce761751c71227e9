"""A bundle run as MONAI runs it, its own reader and ``Invertd`` included, stopped before anything is made discrete."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Activationsd, Compose, Invertd
from numpy.typing import NDArray

from lesionlens.volume import Volume


def written(volume: Volume, path: Path) -> Path:
    """Write a volume as NIfTI, for MONAI's reader."""
    nib.save(nib.Nifti1Image(np.asarray(volume.array, dtype=np.float32), volume.grid.affine), path)
    return path


def own_run(folder: Path, scans: dict[str, Path], *, kind: str, weights: str = "models/model.pt") -> NDArray[Any]:
    """Return the probabilities (K, i, j, k) of a bundle on the grid of its scan.

    Parameters
    ----------
    folder
        The bundle.
    scans
        Files by the keys of the bundle's loader.
    kind
        ``"softmax"`` or ``"sigmoid"``, before the inversion, as the bundles of the zoo have it.
    weights
        File with the state dict.
    """
    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser["bundle_root"] = str(folder)
    with warnings.catch_warnings():  # its readers announce what they lack
        warnings.simplefilter("ignore")
        preprocessing = parser.get_parsed_content("preprocessing")
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / weights, weights_only=True))
    key = next(iter(scans))
    data = preprocessing({name: str(path) for name, path in scans.items()})
    image = data["image"] if "image" in data else data[key]
    with torch.no_grad():
        output = parser.get_parsed_content("inferer")(image.as_tensor()[None].float(), network)[0]
    data["pred"] = MetaTensor(output, meta=image.meta)
    stopped = Compose(
        [
            Activationsd("pred", **{kind: True}),
            Invertd("pred", transform=preprocessing, orig_keys=key, nearest_interp=False, to_tensor=True),
        ]
    )
    found: NDArray[Any] = stopped(data)["pred"].numpy()
    return found
