"""The commands about bundles."""

from __future__ import annotations

from typing import Any

import typer

from lesionlens.cli.options import AsJson, BundleArgument, Command, print_json

__all__ = ["bundles_list", "bundles_show", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module, as a group of their own."""
    group = typer.Typer(help="List and show bundles.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list", cls=Command, epilog="Example:  lesionlens bundles list")(bundles_list)
    group.command("show", cls=Command, epilog="Example:  lesionlens bundles show flair-lesions")(bundles_show)
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


def _bundle_summary(bundle: Any) -> dict[str, Any]:
    names = ("name", "version", "task", "inputs", "outputs", "foreground", "modality", "intended_use", "embedded")
    return {name: getattr(bundle, name) for name in names}
