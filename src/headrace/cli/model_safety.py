"""``headrace models scan | sign | verify``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from headrace.cli.model_store import client_option, opened_client
from headrace.cli.outcome import FAILED, printable
from headrace.cli.output import json_option, print_json

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("what", metavar="PATH|URI")
@json_option
@client_option
def scan(what: str, as_json: bool, store_uri: str | None) -> None:
    """Report what opening a model would do, without doing it: a folder, a file, an archive, or a model's URI.

    Exit code 1 when opening it could run what a stranger wrote.
    """
    from headrace.models.inspection.findings import Verdict
    from headrace.models.scan import scan as look

    report = msgspec.structs.replace(look(_here(what, store_uri)), path=what)
    if as_json:
        print_json(report)
    else:
        click.echo(printable(report.text()))
    if report.verdict is not Verdict.SAFE:
        click.get_current_context().exit(FAILED)


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option("-k", "--key", type=_FILE, help="A private key, PEM, of an elliptic curve.")
@click.option(
    "--password",
    envvar="HEADRACE_SIGNING_PASSWORD",
    help="The key's. Better given as HEADRACE_SIGNING_PASSWORD: others may see command lines.",
)
@click.option("--certificate", type=_FILE, help="The key's certificate, PEM: signs with it.")
@click.option(
    "--chain", type=_FILE, multiple=True, help="Certificates from it to a root; may be repeated."
)
@click.option(
    "--sigstore", is_flag=True, help="Sign with an identity of sigstore instead of a key."
)
@click.option(
    "--identity-token", envvar="HEADRACE_SIGNING_IDENTITY_TOKEN", help="An OIDC token for sigstore."
)
def sign(
    folder: Path,
    key: Path | None,
    password: str | None,
    certificate: Path | None,
    chain: tuple[Path, ...],
    sigstore: bool,
    identity_token: str | None,
) -> None:
    """Sign a model's folder (OpenSSF model signing), and print where the signature is."""
    from headrace.models.signing import sign as make_signature

    made = make_signature(
        folder,
        key=key,
        password=password,
        certificate=certificate,
        chain=chain,
        sigstore=sigstore,
        identity_token=identity_token,
    )
    click.echo(made)


@click.command()
@click.argument("what", metavar="FOLDER|URI")
@click.option("-k", "--key", type=_FILE, help="The public key, PEM.")
@click.option(
    "--certificate",
    "certificates",
    type=_FILE,
    multiple=True,
    help="Roots that the signer's certificate must lead to; may be repeated.",
)
@click.option("--identity", help="Who must have signed through sigstore.")
@click.option("--issuer", help="Who vouches for that identity: a URL.")
@json_option
@client_option
def verify(
    what: str,
    key: Path | None,
    certificates: tuple[Path, ...],
    identity: str | None,
    issuer: str | None,
    as_json: bool,
    store_uri: str | None,
) -> None:
    """Check a model's signature: that who is named here signed just these files.

    Exit code 5 when they did not.
    """
    from headrace.models.signing import verify as check

    found = check(
        _here(what, store_uri), key=key, certificates=certificates, identity=identity, issuer=issuer
    )
    if as_json:
        print_json(found)
        return
    click.echo(f"Signed by {found.by}; {found.files} files are as they were.")


def _here(what: str, store_uri: str | None) -> Path:
    """What is named, on this machine; a model is downloaded, and not opened."""
    if Path(what).exists():
        return Path(what)
    from headrace.models.download import download_model

    with opened_client(store_uri) as client:
        return download_model(what, client=client)
