"""Bundles: network, weights, transforms and metadata, ready to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import torch
from monai.inferers import Inferer
from monai.transforms import Compose

from lesionlens.anomaly_reference import Reference, read_reference, reference_path
from lesionlens.errors import BundleError, ExplainError, UntrustedBundleError, unknown_name
from lesionlens.explain import DetectionNetwork, Suits, chosen_layer, final_activation
from lesionlens.explain.final import FinalKind
from lesionlens.explain.layers import output_shape
from lesionlens.model.activation import Activation
from lesionlens.model.bounded import bounded
from lesionlens.model.catalogue import (
    BundleInfo,
    Task,
    as_detection,
    describe,
    hash_file,
    hash_files,
    opened,
    require_configs,
    with_first_as_background,
    with_task,
    with_threshold,
)
from lesionlens.model.config import Parts, find_config, read_parts
from lesionlens.model.device import choose_device
from lesionlens.model.free import available_bytes
from lesionlens.model.kinds import by_slices, prompted
from lesionlens.model.loader import Loader
from lesionlens.model.permission import Permission, Trust, permitted
from lesionlens.model.programs import is_program, load_program
from lesionlens.model.safety import read_config
from lesionlens.model.weights import find_weights, load_weights

if TYPE_CHECKING:
    from lesionlens.model.engines.interface import Engine

__all__ = ["Bundle", "load_bundle", "load_permitted"]

# Voxels that a network is shown where nothing says how many it wants.
_PROBE_SIZE = (64, 64, 64)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A MONAI bundle, loaded: what :func:`~lesionlens.predict` and :func:`~lesionlens.explain` take.

    Parameters
    ----------
    info
        What the metadata says: name, version, task, input and output channels.
    network
        In eval mode, on ``device``, parameters frozen; of a detection bundle a
        :class:`~lesionlens.explain.DetectionNetwork`.
    preprocessing
        The bundle's own transforms without its image loader, for which ``loader`` stands.
    inferer
        The bundle's own, usually a sliding window.
    activation
        How the output becomes probabilities according to the config; the output itself has the last word, see
        :func:`~lesionlens.model.activation.observed`.
    device
        Where the network runs.
    bundle_sha256, weights_sha256
        Hashes of all files (see :func:`~lesionlens.model.catalogue.hash_files`) and of the weights file.
    reference
        What an anomaly bundle knows of scans in which nothing is wrong; None of others, and where it has none yet.
    through_affine
        Whether results come to the scan's grid by the affines alone, whatever the preprocessing did.
    lock
        Held while the network runs: an explanation watches its layers, so threads must take turns.
    engines
        What else can run the network, made for windows of a shape; see :mod:`lesionlens.model.engines.choice`.
    network_bytes
        Memory that the network takes on an input of a shape, as far as that was asked.
    """

    info: BundleInfo
    network: torch.nn.Module
    preprocessing: Compose
    loader: Loader
    inferer: Inferer
    activation: Activation
    device: torch.device
    bundle_sha256: str
    weights_sha256: str
    reference: Reference | None = None
    through_affine: bool = False
    lock: RLock = field(default_factory=RLock, repr=False)
    engines: dict[tuple[str, tuple[int, ...]], Engine] = field(default_factory=dict, repr=False)
    network_bytes: dict[tuple[int, ...], int] = field(default_factory=dict, repr=False)
    _default_layers: dict[tuple[int, ...], tuple[str, str]] = field(default_factory=dict, repr=False)
    _final_activations: dict[tuple[int, ...], FinalKind | None] = field(default_factory=dict, repr=False)
    _suits: dict[tuple[int, ...], Suits] = field(default_factory=dict, repr=False)

    def default_layer(self, window: Sequence[int]) -> tuple[str, str]:
        """Return the layer that is explained when none is named, and why; probed once for each window size.

        The bundle's own choice goes first, as long as its network has such a layer.

        Parameters
        ----------
        window
            Voxels along each axis of what the network sees at a time.
        """
        size = tuple(window)
        if size not in self._default_layers:
            self._default_layers[size] = self._choose_layer((1, len(self.info.inputs), *size))
        return self._default_layers[size]

    def _choose_layer(self, image_shape: tuple[int, ...]) -> tuple[str, str]:
        wanted = self.info.target_layer
        if wanted in dict(self.network.named_modules()):
            assert wanted is not None
            return wanted, "the bundle names it in its metadata"
        layer, reason = chosen_layer(self.network, image_shape)
        return layer, f"{reason}; the bundle names {wanted!r}, which its network has not" if wanted else reason

    def final_activation(self, window: Sequence[int]) -> FinalKind | None:
        """Return the activation module that the network ends in, if any; probed once for each window size."""
        size = tuple(window)
        if size not in self._final_activations:
            self._final_activations[size] = final_activation(self.network, (1, len(self.info.inputs), *size))
        return self._final_activations[size]

    def suits(self, window: Sequence[int]) -> Suits:
        """Return what the network can be explained by; each trial is made once for each window size."""
        size = tuple(window)
        return self._suits.setdefault(size, Suits(self.network, (1, len(self.info.inputs), *size)))

    @property
    def detector(self) -> DetectionNetwork | None:
        """The network of a detection bundle; None of any other."""
        return self.network if isinstance(self.network, DetectionNetwork) else None

    def require_classes(self, what: str) -> None:
        """Refuse what is not made of classes, each with a probability.

        Raises
        ------
        lesionlens.errors.BundleError
            If this is a detection or an anomaly bundle.
        """
        if self.detector is not None:
            raise BundleError(
                f"{self.name} is a detection bundle, which finds boxes: {what} is for segmentation and classification."
                " Use detect(), or explain() for maps."
            )
        if self.info.anomaly is not None:
            raise BundleError(
                f"{self.name} is an anomaly bundle, which says how far voxels lie from healthy ones: {what} is for"
                " segmentation and classification. Use score_anomaly()."
            )

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.info.name

    @property
    def title(self) -> str:
        """Name and version, as provenance states it."""
        return f"{self.info.name} {self.info.version}"

    def channel(self, target: str | int) -> int:
        """Return the output channel of a target class, given by name (any case) or channel number.

        Raises
        ------
        lesionlens.errors.ExplainError
            If there is no such class; the message lists those that exist.
        """
        names = [n.lower() for n in self.info.outputs]
        if str(target).strip().lower() in names:
            return names.index(str(target).strip().lower())
        if str(target).strip().isdigit() and int(target) < len(names):
            return int(target)
        raise ExplainError(unknown_name("class", target, self.info.outputs))


def load_bundle(
    name_or_path: str | Path,
    *,
    trust: Trust = False,
    device: str | None = None,
    classes: Sequence[str] = (),
    through_affine: bool = False,
) -> Bundle:
    """Load an embedded bundle by name, or any MONAI bundle by path.

    A bundle's config is code. The bundles that ship with LesionLens run as they are; of any other nothing is executed
    but what is known to be harmless, unless it is trusted. Weights are always loaded as plain data.

    Parameters
    ----------
    name_or_path
        ``"flair-lesions"``, ``"flair-lesion-load"``, or the path of a bundle folder or zip file.
    trust
        True when you know where the bundle comes from and let it execute code, or the SHA-256 of the bundle that you
        trust (see :func:`~lesionlens.model.catalogue.hash_files`).
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; by default the fastest there is.
    classes
        Of a network that is asked for classes by their numbers (VISTA3D): names or numbers of those that are wanted; by
        default those that its config asks for, or else all.
    through_affine
        Resample results through the affine of the preprocessing's output, where its transforms cannot be undone; what
        moved voxels without a change of the affine stays moved.

    Raises
    ------
    BundleError
        If it does not exist, is incomplete, is for nothing that LesionLens does, or its weights do not fit.
    UntrustedBundleError
        If it comes from outside, is not known to be harmless, and not trusted; the message says what it would execute.

    Examples
    --------
    >>> import lesionlens as ll
    >>> ll.load_bundle("flair-lesions").info.foreground
    ('lesion',)
    """
    bundle = load_permitted(permitted(name_or_path, trust=trust), device=device, classes=classes)
    if not through_affine:
        return bundle
    decision = "Results are resampled through the affine of the preprocessing's output, which is not undone."
    return replace(bundle, through_affine=True, info=replace(bundle.info, decisions=(*bundle.info.decisions, decision)))


def load_permitted(permission: Permission, *, device: str | None = None, classes: Sequence[str] = ()) -> Bundle:
    """Load a bundle as far as it may be executed.

    Raises
    ------
    BundleError, UntrustedBundleError
        As :func:`load_bundle`.
    """
    with opened(permission.path) as folder:
        return _load(folder, permission, choose_device(device), classes)


def _load(folder: Path, permission: Permission, device: torch.device, classes: Sequence[str]) -> Bundle:
    require_configs(folder, permission.path)
    info = describe(folder, embedded=permission.embedded, root=permission.path)
    weights, parts = _parts(folder, permission, device, info)
    info = replace(info, decisions=(*info.decisions, *parts.notices))
    parts, info = prompted(folder, parts, info, classes)
    parts, info = by_slices(parts, info)
    detector = parts.network if isinstance(parts.network, DetectionNetwork) else None
    network = _placed(parts.network, device)
    if detector is not None:
        info = as_detection(info, detector.n_classes)
    elif info.task == "detection":
        raise BundleError(
            f"{info.name} states that it is a detection; LesionLens needs a RetinaNetDetector in its inference config,"
            " which holds the anchors and the rules for boxes, and finds none."
        )
    info = info if info.task_stated else _with_shown_task(info, network, parts.inferer)
    info = with_first_as_background(info) if parts.activation.kind == "softmax" else info
    return Bundle(
        info=with_threshold(info, parts.activation.threshold),
        network=network,
        preprocessing=parts.preprocessing,
        loader=parts.loader,
        inferer=parts.inferer,
        activation=parts.activation,
        device=device,
        bundle_sha256=hash_files(folder),
        weights_sha256=hash_file(weights) if weights else "",
        reference=read_reference(folder) if info.anomaly and reference_path(folder).exists() else None,
    )


def _parts(folder: Path, permission: Permission, device: torch.device, info: BundleInfo) -> tuple[Path | None, Parts]:
    """Build the parts of a bundle, with its weights in its network; what compares with a template needs none."""
    n_outputs = len(info.outputs)
    if info.anomaly is not None and info.anomaly.method == "template":
        return None, read_parts(folder, device, n_outputs, trusted=permission.trusted)
    weights = find_weights(folder, read_config(find_config(folder)))
    if is_program(weights):
        if not permission.trusted:
            raise UntrustedBundleError(f"{permission.path} needs trust: {weights.name} is code.")
        program = load_program(weights, device)
        return weights, read_parts(folder, device, n_outputs, trusted=True, program=program)
    size = weights.stat().st_size
    parts = read_parts(folder, device, n_outputs, trusted=permission.trusted, weights_bytes=size)
    network = parts.network.network if isinstance(parts.network, DetectionNetwork) else parts.network
    load_weights(network, weights)
    return weights, parts


def _with_shown_task(info: BundleInfo, network: torch.nn.Module, inferer: Inferer) -> BundleInfo:
    """Let the network's output say what the metadata leave open: one number for each class, or a map."""
    roi = getattr(inferer, "roi_size", None) or _PROBE_SIZE
    size = tuple(n if n > 0 else m for n, m in zip(roi, _PROBE_SIZE, strict=True)) if len(roi) == 3 else _PROBE_SIZE
    try:
        with bounded(available_bytes()):
            shape = output_shape(network, (1, len(info.inputs), *size))
    except MemoryError:
        raise
    except Exception as error:  # a network is arbitrary code; what the metadata suggest stands, on record
        reason = f"neither the metadata nor a trial run say ({type(error).__name__})"
        return with_task(info, info.task, f"The bundle is taken for a {info.task}: {reason}.")
    task: Task = "classification" if prod(shape[2:]) == 1 else "segmentation"
    return with_task(info, task, f"The bundle is a {task}: the metadata do not say, the network's output does.")


def _placed(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Put a network on its device, ready to run on float32 images."""
    network = network.to(device).float().eval()
    for parameter in network.parameters():  # TorchScript modules have no requires_grad_ of their own
        parameter.requires_grad_(False)
    dilated = any(isinstance(m, torch.nn.Conv3d) and max(m.dilation) > 1 for m in network.modules())
    if device.type == "cpu" and dilated:
        # oneDNN computes dilated 3D convolutions about three times faster with channels last; others are no faster.
        for parameter in network.parameters():
            if parameter.ndim == 5:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network
