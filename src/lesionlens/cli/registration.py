"""The command that measures where the cells of a bundle's layers lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlens.cli.groups import Loading, spelt_out
from lesionlens.cli.options import (
    AsJson,
    BundleArgument,
    Command,
    Overwrite,
    Quiet,
    print_json,
    progress_bars,
)
from lesionlens.errors import InputError, printable

if TYPE_CHECKING:
    from lesionlens.model.bundle import Bundle
    from lesionlens.registration import Registration
    from lesionlens.volume import Volume

__all__ = ["measure", "register"]

Layers = Annotated[
    list[str], typer.Option("--layer", help="Layer to measure; several times for several. [default: the one explained]")
]
Scans = Annotated[
    list[Path],
    typer.Option("--on", help="Scan to measure on; several times for several. [default: the sample scan, a FLAIR]"),
]
Positions = Annotated[int, typer.Option(help="Measurements on each scan.", min=16)]
PlaceSeed = Annotated[int, typer.Option("--seed", help="Of the places that are measured.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    example = "Example:  lesionlens measure-registration my_bundle/ --trust --on scan.nii.gz"
    app.command("measure-registration", cls=Command, epilog=example)(spelt_out(measure))


def measure(
    bundle: BundleArgument,
    *,
    layer: Layers = [],  # noqa: B006 - typer makes a new list for each call
    on: Scans = [],  # noqa: B006 - the same
    positions: Positions = 64,
    seed: PlaceSeed = 0,
    loading: Loading,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure where the cells of a layer lie, and store it for the maps of this bundle; 'run' then applies it."""
    from lesionlens.model.placement import registration_of
    from lesionlens.model.registration import measure_registration
    from lesionlens.registration import places, store_registration
    from lesionlens.sample import sample_scan

    loading.permitted(bundle)
    loaded = loading.bundle(bundle)
    with progress_bars(quiet or as_json) as progress:
        names = tuple(layer) or (_default(loaded),)
        known, _ = registration_of(loaded)
        again = [name for name in names if known is not None and name in known.layers]
        if again and not overwrite:
            raise InputError(f"{', '.join(again)} was measured already; measure it again with --overwrite.")
        found = measure_registration(
            loaded, _read(on or [sample_scan()]), layers=names, positions=positions, seed=seed, progress=progress
        )
    info = loaded.info
    file = store_registration(found, places(info.root, loaded.weights_sha256, embedded=info.embedded))
    if as_json:
        print_json({**found.record(), "file": str(file)})
    else:
        _print(found, names, file)


def _default(bundle: Bundle) -> str:
    from lesionlens.model.layers import layers_of

    return layers_of(bundle).default


def _read(scans: list[Path]) -> Iterator[Volume]:
    """Read one scan at a time: many do not fit into memory together."""
    from lesionlens.io import read

    return (read(scan) for scan in scans)


def _print(found: Registration, names: tuple[str, ...], file: Path) -> None:
    for name in names:
        layer = found.layers[name]
        offset, spread, half = (
            ", ".join(f"{value:.2f}" for value in values)
            for values in (layer.voxels, layer.spread, [step / 2 for step in layer.stride])
        )
        typer.echo(f"{name}: its cells lie ({offset}) voxels from the half-voxel convention")
        typer.echo(
            f"    single measurements scatter by ({spread}) voxels, {layer.n} of them; the maps stay good to ({half})"
        )
    typer.echo(f"Stored in {printable(str(file))}.")
    typer.echo("Maps of these layers are moved by that from now on; 'run --no-registration' leaves it aside.")
