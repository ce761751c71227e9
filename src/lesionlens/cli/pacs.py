"""The commands about archives (PACS)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionlens.cli.groups import spelt_out
from lesionlens.cli.options import PATH, AsJson, Command, Identified, Overwrite, Quiet, print_json, progress_bars
from lesionlens.errors import InputError, counted, printable

if TYPE_CHECKING:
    from lesionlens.pacs import Address, Found, FoundSeries, FoundStudy, Query

__all__ = [
    "pacs_add",
    "pacs_find",
    "pacs_get",
    "pacs_list",
    "pacs_login",
    "pacs_logout",
    "pacs_remove",
    "pacs_send",
    "register",
]

_ARCHIVE = "Archive: its name, https://host/dicom-web, or dicom://AET@host:port."
Archive = Annotated[str, typer.Argument(metavar="ARCHIVE", help=_ARCHIVE, show_default=False)]
Source = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help=f"{_ARCHIVE[:-1]}, or the URL of a series.", show_default=False)
]
ArchiveName = Annotated[str, typer.Argument(metavar="NAME", help="What it is called.", show_default=False)]
Files = Annotated[list[Path], typer.Argument(metavar="FILES", help="DICOM files, or folders of them.", **PATH)]
Studies = Annotated[bool, typer.Option("--studies", help="Find studies, not their series.")]
Limit = Annotated[int, typer.Option(min=1, help="Find no more than so many.")]
Manifest = Annotated[
    Path | None, typer.Option(help="Table (CSV) to write, which 'lesionlens batch' takes as INPUTS.", **PATH)
]
FetchOut = Annotated[Path, typer.Option("--out", "-o", help="Folder for a folder of each series.", **PATH)]
User = Annotated[str | None, typer.Option(help="User of the archive. [default: asked for]")]

PatientId = Annotated[str, typer.Option(help="Number of the patient; * stands for any letters, here and below.")]
PatientName = Annotated[str, typer.Option(help="Name of the patient, FAMILY^GIVEN.")]
StudyDate = Annotated[str, typer.Option(metavar="DAYS", help="YYYYMMDD, or a range such as 20240101-20240331.")]
Accession = Annotated[str, typer.Option(help="Accession number.")]
StudyDescription = Annotated[str, typer.Option(help="Description of the study.")]
StudyUid = Annotated[str, typer.Option(metavar="UID", help="StudyInstanceUID.")]
SeriesUid = Annotated[str, typer.Option(metavar="UID", help="SeriesInstanceUID.")]
Modality = Annotated[str, typer.Option(help="Modality of the series, such as MR.")]
SeriesDescription = Annotated[str, typer.Option(help="Description of the series.")]


@dataclass(frozen=True)
class LookedFor:
    """What is looked for in an archive."""

    patient_id: PatientId = ""
    patient_name: PatientName = ""
    study_date: StudyDate = ""
    accession: Accession = ""
    study_description: StudyDescription = ""
    study: StudyUid = ""
    series: SeriesUid = ""
    modality: Modality = ""
    series_description: SeriesDescription = ""

    @property
    def query(self) -> Query:
        """The same, for the archive."""
        from lesionlens.pacs import Query

        return Query(**asdict(self))


def register(app: typer.Typer) -> None:
    """Add the commands of this module, as a group of their own."""
    group = typer.Typer(
        help="Find, get and send series of an archive (PACS), by DICOMweb or DIMSE.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    archive = "https://pacs.example/dicom-web"
    for name, command, example in (
        ("find", spelt_out(pacs_find), f"find {archive} --modality MR --study-date 20240101-20240331"),
        ("get", spelt_out(pacs_get), f"get {archive} --accession A1234 --modality MR --out scans"),
        ("send", pacs_send, f"send {archive} objects"),
        ("add", pacs_add, "add hospital dicom://ARCHIVE@pacs.example:104"),
        ("list", pacs_list, "list"),
        ("remove", pacs_remove, "remove hospital"),
        ("login", pacs_login, f"login {archive} --user ann"),
        ("logout", pacs_logout, f"logout {archive}"),
    ):
        group.command(name, cls=Command, epilog=f"Example:  lesionlens pacs {example}")(command)
    app.add_typer(group, name="pacs")


def pacs_find(
    archive: Archive,
    *,
    looked_for: LookedFor,
    studies: Studies = False,
    limit: Limit = 1000,
    manifest: Manifest = None,
    identified: Identified = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List the series of an archive that match, or its studies."""
    from lesionlens.pacs import find_series, find_studies
    from lesionlens.pacs.manifest import write_manifest

    if studies and manifest is not None:
        raise typer.BadParameter(
            "a manifest is of series; leave one of the two out", param_hint="--studies, --manifest"
        )
    address, query = _archive(archive), looked_for.query
    with progress_bars(quiet or as_json) as progress:
        find = find_studies if studies else find_series
        found = find(address, query, limit=limit, identified=identified, progress=progress)
    if manifest is not None:
        write_manifest(found.series, manifest, overwrite=overwrite)
    if as_json:
        print_json(
            {"studies": [_study(one) for one in found.studies], "series": [_series(one) for one in found.series]}
        )
    else:
        _print_found(found, studies=studies, identified=identified)
    if found.more:
        typer.echo(f"There are more than {limit:,}; narrow the search, or raise --limit.", err=True)


def pacs_get(
    archive: Source,
    *,
    looked_for: LookedFor,
    out: FetchOut,
    limit: Limit = 100,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Bring the series that match into a folder, each into one of its own, where it is whole or not at all.

    What is there already stays, so the same command goes on where it was stopped.
    """
    from lesionlens.pacs import fetch_all, find_series, is_series_url, parse_series

    with progress_bars(quiet or as_json) as progress:
        if is_series_url(archive):
            urls = {parse_series(archive).name: archive}
        else:
            found = find_series(_archive(archive), looked_for.query, limit=limit, progress=progress)
            if not found.series:
                raise InputError("No series matches; 'lesionlens pacs find' lists what there is.")
            if found.more:
                raise InputError(f"More than {limit:,} series match; narrow the search, or raise --limit.")
            urls = {one.name: one.url for one in found.series}
        came = fetch_all(urls, out, overwrite=overwrite, progress=progress)
    if as_json:
        print_json({"out": str(out), "series": list(urls), "fetched": came})
        return
    there = f"; {len(urls) - len(came)} were there" if len(came) < len(urls) else ""
    typer.echo(f"{len(urls)} series in {printable(str(out))}: {', '.join(urls)}{there}")


def pacs_send(archive: Archive, files: Files, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Store DICOM files in an archive."""
    from lesionlens.pacs import send_files

    with progress_bars(quiet or as_json) as progress:
        sent = send_files(_archive(archive), files, progress=progress)
    if as_json:
        print_json({"stored": [path.name for path in sent.files]})
    else:
        typer.echo(f"{counted(len(sent.files), 'file')} stored.")


def pacs_add(
    name: ArchiveName,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="https://host/dicom-web or dicom://AET@host:port.")],
) -> None:
    """Give the address of an archive a name; no password is kept with it.

    Behind a question mark an address may say more: ca=FILE (certificates of its authority), and for dicom://
    calling=AET (our title), retrieve=move and listen=PORT.
    """
    from lesionlens.pacs.named import name_archive

    found = _archive(address)
    name_archive(name, found)
    typer.echo(f"{name} is {found}")


def pacs_list(as_json: AsJson = False) -> None:
    """List the archives that have names."""
    from lesionlens.pacs import named_archives

    known = {name: str(address) for name, address in named_archives().items()}
    if as_json:
        print_json(known)
    elif not known:
        typer.echo("No archive has a name; give one with: lesionlens pacs add NAME ADDRESS")
    else:
        from lesionlens.report.console import print_table

        print_table(("name", "address"), list(known.items()))


def pacs_remove(name: ArchiveName) -> None:
    """Forget the name of an archive; a password in the keyring stays until 'logout'."""
    from lesionlens.pacs.named import unname_archive

    unname_archive(name)
    typer.echo(f"{name} has no name any more.")


def pacs_login(archive: Archive, user: User = None) -> None:
    """Ask for the password of an archive, and keep it in the keyring of the system."""
    from lesionlens.pacs.credentials import Credentials, remember

    address = _archive(archive)
    named = user if user is not None else typer.prompt("User", err=True)
    password = typer.prompt(f"Password of {named} at {address.name}", hide_input=True, err=True)
    remember(address, Credentials(named, password))
    typer.echo(f"Kept in the keyring, for {address.origin}")


def pacs_logout(archive: Archive) -> None:
    """Remove the password of an archive from the keyring."""
    from lesionlens.pacs.credentials import forget

    address = _archive(archive)
    typer.echo(f"Removed, for {address.origin}" if forget(address) else f"The keyring has none for {address.origin}")


def _archive(text: str) -> Address:
    from lesionlens.pacs import archive

    return archive(text)


def _study(study: FoundStudy) -> dict[str, Any]:
    names = ("uid", "description", "modalities", "n_series", "n_images")
    shown = {name: getattr(study, name) for name in names}
    return {**shown, **({"identity": dict(study.identity)} if study.identity else {})}


def _series(series: FoundSeries) -> dict[str, Any]:
    names = ("name", "url", "uid", "number", "description", "modality", "n_images")
    return {**{name: getattr(series, name) for name in names}, "study": series.study.uid}


def _print_found(found: Found, *, studies: bool, identified: bool) -> None:
    from lesionlens.report.console import print_table

    who = ("patient_name", "patient_id", "study_date") if identified else ()
    if studies:
        heads: tuple[str, ...] = ("modalities", "description", "series", "images", "study UID")
        rows = [
            (", ".join(one.modalities), one.description, _shown(one.n_series), _shown(one.n_images), one.uid)
            for one in found.studies
        ]
        people = [one.identity for one in found.studies]
    else:
        heads = ("name", "modality", "description", "images", "series UID")
        rows = [(one.name, one.modality, one.description, _shown(one.n_images), one.uid) for one in found.series]
        people = [one.study.identity for one in found.series]
    shown = [
        tuple(printable(text) for text in (*(person.get(name, "") for name in who), *row))
        for person, row in zip(people, rows, strict=True)
    ]
    if shown:
        print_table((*(name.replace("_", " ") for name in who), *heads), shown)
    what = "series" if not studies else "study" if len(rows) == 1 else "studies"
    typer.echo(f"{len(rows):,} {what} found.")


def _shown(number: int | None) -> str:
    return "" if number is None else str(number)
