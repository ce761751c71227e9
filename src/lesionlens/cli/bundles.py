"""The commands about bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionlens.cli.groups import Loading, Reading, spelt_out
from lesionlens.cli.options import (
    AsJson,
    BundleArgument,
    Command,
    FeatureSeed,
    HealthyScans,
    Overwrite,
    Quiet,
    print_json,
    progress_bars,
)
from lesionlens.errors import counted, printable

if TYPE_CHECKING:
    from lesionlens.model.catalogue import BundleInfo
    from lesionlens.model.check import BundleCheck

__all__ = [
    "bundles_add",
    "bundles_check",
    "bundles_list",
    "bundles_make",
    "bundles_reference",
    "bundles_remove",
    "bundles_show",
    "register",
]

BundlePath = Annotated[
    Path, typer.Argument(metavar="PATH", exists=True, help="Folder or zip file of the bundle.", show_default=False)
]
AddedName = Annotated[str | None, typer.Option("--name", help="What to call it. [default: as its metadata do]")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module, as a group of their own."""
    group = typer.Typer(
        help="List, show, check, make, complete, add and remove bundles.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("list", cls=Command, epilog="Example:  lesionlens bundles list")(bundles_list)
    group.command("show", cls=Command, epilog="Example:  lesionlens bundles show flair-lesions")(bundles_show)
    group.command("check", cls=Command, epilog="Example:  lesionlens bundles check my_bundle/")(bundles_check)
    group.command("add", cls=Command, epilog="Example:  lesionlens bundles add spleen.zip --name spleen")(bundles_add)
    example = "Example:  lesionlens bundles make mine --network net.py:Net --weights net.pt --classes background,lesion"
    group.command("make", cls=Command, epilog=example)(bundles_make)
    group.command("remove", cls=Command, epilog="Example:  lesionlens bundles remove spleen")(bundles_remove)
    example = "Example:  lesionlens bundles reference my_bundle/ healthy/*.nii.gz"
    group.command("reference", cls=Command, epilog=example)(spelt_out(bundles_reference))
    app.add_typer(group, name="bundles")


def bundles_list(as_json: AsJson = False) -> None:
    """List the bundles that ship with LesionLens, and those that were added."""
    from lesionlens.model import list_bundles

    found = list_bundles()
    if as_json:
        print_json([_bundle_summary(b) for b in found])
        return
    from lesionlens.report.console import print_table

    rows = [(_called(b), b.version, b.task, ", ".join(b.inputs), _classes(b)) for b in found]
    print_table(("name", "version", "task", "input", "output"), rows)


def bundles_show(
    bundle: BundleArgument,
    as_json: AsJson = False,
) -> None:
    """Show what a bundle's metadata and model card say; nothing of the bundle is executed."""
    from lesionlens.model.catalogue import describe, locate, model_card, opened

    path, embedded = locate(bundle)
    with opened(path) as folder:
        found, card = describe(folder, embedded=embedded, root=path), model_card(folder)
    if as_json:
        print_json(_bundle_summary(found))
        return
    typer.echo(f"{found.name} {found.version}: {found.task}\n{found.description}")
    typer.echo(f"input:  {', '.join(found.inputs)}\noutput: {', '.join(found.outputs)}")
    if found.intended_use:
        typer.echo(f"intended use: {found.intended_use}")
    typer.echo("\n" + card if card else "It has no model card.")


def bundles_check(bundle: BundleArgument, as_json: AsJson = False) -> None:
    """Say what a bundle would do, what it needs and what is unusual; only what is known to be harmless is executed.

    The exit code is 1 where something needs trust or the bundle cannot be built.
    """
    from lesionlens.model.check import check_bundle

    found = check_bundle(bundle)
    if as_json:
        print_json({**_bundle_summary(found.info), **_check_summary(found)})
    else:
        typer.echo("\n".join(_check_lines(found)))
    if found.bundle is None:
        raise typer.Exit(1)


def bundles_reference(
    bundle: BundleArgument,
    scans: HealthyScans,
    *,
    seed: FeatureSeed = 0,
    reading: Reading,
    loading: Loading,
    overwrite: Overwrite = False,
    silent: Quiet = False,
) -> None:
    """Give an anomaly bundle its scale, from scans in which nothing is wrong; needed once for each bundle.

    It is written beside the bundle's weights, as models/reference.npz.
    """
    from lesionlens.anomaly_reference import reference_path, write_reference
    from lesionlens.errors import InputError
    from lesionlens.model.anomaly.fitting import fit_reference
    from lesionlens.model.installed import pin_again

    loading.permitted(bundle)
    loaded = loading.bundle(bundle)
    if loaded.info.embedded or not loaded.info.root.is_dir():
        kind = "ships with LesionLens" if loaded.info.embedded else "is a zip file"
        raise InputError(f"{bundle} {kind} and keeps the reference it has; give the folder of a bundle of your own.")
    with progress_bars(silent) as progress:
        volumes = [reading.scan(path, progress) for path in scans]
        reference = fit_reference(loaded, volumes, seed=seed, progress=progress)
    path = reference_path(loaded.info.root)
    write_reference(reference, path, overwrite=overwrite)
    pin_again(loaded.info.root)
    typer.echo(f"{path}: {counted(reference.n_voxels, 'voxel')} of {counted(reference.n_scans, 'scan')} set the scale.")


def bundles_add(
    path: BundlePath, name: AddedName = None, overwrite: Overwrite = False, as_json: AsJson = False
) -> None:
    """Add a bundle from a folder or zip file, to be called by a name from then on; nothing of it is executed.

    Its files are copied to the user's data folder, and their hash is pinned: the bundle does not load if they change.
    """
    from lesionlens.model.installed import add_bundle
    from lesionlens.model.permission import examine

    added = add_bundle(path, name=name, overwrite=overwrite)
    _, concerns = examine(added.folder)
    if as_json:
        facts = {"name": added.name, "folder": str(added.folder), "sha256": added.sha256, "harmless": not concerns}
        print_json({**_bundle_summary(added.info), **facts})
        return
    typer.echo(f"Added {added.name}, {added.info.task}, to {printable(str(added.folder))}\nsha256: {added.sha256}")
    if concerns:
        typer.echo(f"It needs trust for {len(concerns)} part(s); see them with: lesionlens bundles check {added.name}")
    else:
        typer.echo(f"It needs no trust. Run it with: lesionlens run SCAN --bundle {added.name} --out FOLDER")


def bundles_make(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write.", show_default=False)],
    network: Annotated[str, typer.Option(help="module:Class, file.py:Class, or a name of MONAI, such as UNet.")],
    weights: Annotated[Path, typer.Option(exists=True, help="State dict, or a checkpoint that holds it.")],
    classes: Annotated[str, typer.Option(help="Names of the output channels, between commas.")],
    inputs: Annotated[str, typer.Option(help="Names of the input channels, between commas.")] = "image",
    arguments: Annotated[str, typer.Option(metavar="JSON", help="What the class is called with.")] = "{}",
    spacing: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Voxel size in mm. [default: the scan's]")
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="X,Y,Z", help="Voxels that it sees at a time. [default: all]")
    ] = None,
    intensity: Annotated[str, typer.Option(help="none, zscore, or LOW,HIGH to bring to 0 and 1.")] = "none",
    overwrite: Overwrite = False,
) -> None:
    """Make a bundle of a class and its weights alone; nothing of them is executed."""
    from lesionlens.model.making import Recipe, make_bundle

    size = _numbers(spacing, "--spacing", 3)
    seen = _numbers(window, "--window", 3)
    cut = _numbers(intensity, "--intensity", 2) if "," in intensity else None
    recipe = Recipe(
        network=network,
        weights=weights,
        classes=tuple(name.strip() for name in classes.split(",") if name.strip()),
        inputs=tuple(name.strip() for name in inputs.split(",") if name.strip()),
        arguments=_object(arguments),
        spacing_mm=None if size is None else (size[0], size[1], size[2]),
        window=None if seen is None else (int(seen[0]), int(seen[1]), int(seen[2])),
        intensity=intensity if cut is None else (cut[0], cut[1]),
    )
    typer.echo(f"Made {printable(str(make_bundle(recipe, folder, overwrite=overwrite)))}")
    typer.echo(f"See what it needs with: lesionlens bundles check {printable(str(folder))}")


def _numbers(text: str | None, option: str, count: int) -> list[float] | None:
    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise typer.BadParameter(f"expected {count} numbers between commas, not {text!r}", param_hint=option)
    return found


def _object(text: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"expected a JSON object, not {text!r}", param_hint="--arguments")
    return found


def bundles_remove(name: Annotated[str, typer.Argument(metavar="NAME", help="Name that it was added under.")]) -> None:
    """Delete a bundle that was added."""
    from lesionlens.model.installed import remove_bundle

    typer.echo(f"Removed {name} from {printable(str(remove_bundle(name).parent))}")


def _called(bundle: BundleInfo) -> str:
    """Return the name that a bundle is loaded by."""
    return bundle.name if bundle.embedded else bundle.root.name


def _classes(bundle: BundleInfo, most: int = 8) -> str:
    more = f" and {len(bundle.outputs) - most} more" if len(bundle.outputs) > most else ""
    return ", ".join(bundle.outputs[:most]) + more


def _check_summary(found: BundleCheck) -> dict[str, Any]:
    built = found.bundle
    return {
        "sha256": found.sha256,
        "trusted": found.trusted,
        "harmless": not found.concerns,
        "concerns": [{"place": c.place, "text": c.text, "reason": c.reason} for c in found.concerns],
        "problem": found.problem,
        "decisions": list(found.info.decisions),
        "network": built and type(built.network).__name__,
        "parameters": built and sum(parameter.numel() for parameter in built.network.parameters()),
        "activation": built and {"kind": built.activation.kind, "reason": built.activation.reason},
        "inferer": built and type(built.inferer).__name__,
    }


def _check_lines(found: BundleCheck) -> list[str]:
    facts = _check_summary(found)
    lines = [
        f"{found.info.name} {found.info.version}: {found.info.task}",
        f"input:  {', '.join(found.info.inputs)}\noutput: {', '.join(found.info.outputs)}",
        f"sha256: {found.sha256}" + " (trusted)" * (found.trusted and not found.info.embedded),
    ]
    if found.concerns:
        lines.append("not known to be harmless:")
        lines += [f"  {concern}" for concern in found.concerns]
    else:
        lines.append("all that would be executed is known to be harmless")
    if found.bundle is not None:
        lines.append(f"network: {facts['network']}, {facts['parameters']:,} parameters; the weights fit")
        lines.append(f"inferer: {facts['inferer']}")
        lines.append(f"activation: {facts['activation']['kind']} ({facts['activation']['reason']})")
    lines += [f"note: {decision}" for decision in found.info.decisions]
    return lines + [f"cannot be built: {found.problem}"] * bool(found.problem)


def _bundle_summary(bundle: Any) -> dict[str, Any]:
    names = ("name", "version", "task", "inputs", "outputs", "foreground", "modality", "intended_use", "embedded")
    return {name: getattr(bundle, name) for name in names}
