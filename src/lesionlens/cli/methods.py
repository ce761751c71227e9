"""Commands about the explanation methods."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from lesionlens.cli.groups import Loading, spelt_out
from lesionlens.cli.options import AsJson, BundleArgument, Command, Every, print_json

__all__ = ["layers", "method_options", "methods", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(cls=Command, epilog="Example:  lesionlens methods")(methods)
    app.command(cls=Command, epilog="Example:  lesionlens layers flair-lesions")(spelt_out(layers))


def method_options(texts: Sequence[str]) -> dict[str, str]:
    """Return the options of a method in ``["samples=25", ...]``."""
    pairs = [text.partition("=") for text in texts]
    wrong = next((text for text, (name, equals, _) in zip(texts, pairs, strict=True) if not (name and equals)), None)
    if wrong is not None:
        raise typer.BadParameter(f"must be NAME=VALUE, not {wrong!r}", param_hint="--option")
    return {name.strip(): value.strip() for name, _, value in pairs}


def methods(as_json: AsJson = False) -> None:
    """List the explanation methods: what each shows, what it costs, and what it cannot say."""
    from lesionlens.methods import METHODS

    if as_json:
        names = ("name", "title", "family", "summary", "cost", "caveat", "paper", "kind", "signed")
        needs = ("takes_layer", "takes_target")
        print_json(
            [{n: getattr(m, n) for n in (*names, *needs)} | {"options": dict(m.options)} for m in METHODS.values()]
        )
        return
    for found in METHODS.values():
        typer.echo(f"{found.name}  {found.title}: {found.summary}")
        typer.echo(f"    cost:   {found.cost}\n    caveat: {found.caveat}")
        if found.options:
            typer.echo(f"    options: {', '.join(f'{name}={value}' for name, value in found.options.items())}")


def layers(bundle: BundleArgument, loading: Loading, every: Every = False, as_json: AsJson = False) -> None:
    """List the layers of a bundle that can be explained, from the input to the output, and the default with why.

    Of parts that give the same tensor, such as a block and the last part in it, one is shown; --all shows each.
    """
    from dataclasses import asdict

    from lesionlens.model.layers import layers_of

    loading.permitted(bundle)
    found = layers_of(loading.bundle(bundle))
    if as_json:
        print_json(asdict(found))
        return
    from lesionlens.report.console import print_table

    shown = found.layers if every else found.distinct()
    rows = [
        (
            layer.name + " *" * (layer.name == found.default),
            layer.kind,
            f"{layer.channels} x {'x'.join(map(str, layer.cells))}",
            " x ".join(f"{n:g}" for n in layer.stride),
            " x ".join(f"{mm:g}" for mm in layer.size_mm) if layer.size_mm else "the scan's",
        )
        for layer in shown
    ]
    print_table(("layer", "kind", "channels, cells", "stride", "cell in mm"), rows)
    window = "x".join(map(str, found.window))
    typer.echo(f"For an input of {window} voxels. A map points no finer than half a cell.")
    if len(shown) < len(found.layers):
        hidden = len(found.layers) - len(shown)
        typer.echo(f"{hidden} further names of the same layers, such as inner parts, are left out; --all shows them.")
    typer.echo(f"* default: {found.default}, {found.reason}.")
