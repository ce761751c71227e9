"""The commands about bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from lesionlens.model.check import BundleCheck

__all__ = ["bundles_check", "bundles_list", "bundles_reference", "bundles_show", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module, as a group of their own."""
    group = typer.Typer(help="List, show, check and complete bundles.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list", cls=Command, epilog="Example:  lesionlens bundles list")(bundles_list)
    group.command("show", cls=Command, epilog="Example:  lesionlens bundles show flair-lesions")(bundles_show)
    group.command("check", cls=Command, epilog="Example:  lesionlens bundles check my_bundle/")(bundles_check)
    example = "Example:  lesionlens bundles reference my_bundle/ healthy/*.nii.gz"
    group.command("reference", cls=Command, epilog=example)(spelt_out(bundles_reference))
    app.add_typer(group, name="bundles")


def bundles_list(as_json: AsJson = False) -> None:
    """List the bundles that ship with LesionLens."""
    from lesionlens.model import list_bundles

    found = list_bundles()
    if as_json:
        print_json([_bundle_summary(b) for b in found])
        return
    from lesionlens.report.console import print_table

    rows = [(b.name, b.version, b.task, ", ".join(b.inputs), ", ".join(b.outputs)) for b in found]
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
    typer.echo(f"{path}: {reference.n_voxels:,} voxels of {reference.n_scans} scans set the scale.")


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
