"""``headrace db``: the schema of a store's database, worked on directly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click
import msgspec

from headrace.cli.outcome import FAILED
from headrace.cli.output import json_option, print_fields, print_json
from headrace.cli.store import must_exist, store_option
from headrace.client.stores import is_remote
from headrace.engine import migrations
from headrace.engine.database import Database
from headrace.engine.location import locate
from headrace.errors import InvalidParameter, SchemaMismatch

url_argument = click.argument("url", required=False)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What `headrace db check` found; ``problems`` empty when all is well."""

    database: str
    version: str | None
    head: str
    problems: tuple[str, ...] = ()


@click.group()
def db() -> None:
    """Check, upgrade and downgrade a store's database schema.

    Works on the database itself, not through a server: run it where the database is, with the servers
    that use it stopped, and after a backup.
    """


@db.command()
@url_argument
@json_option
@store_option
def check(url: str | None, as_json: bool, store_uri: str | None) -> None:
    """Say which schema the database has and whether this headrace works with it.

    SQLite files are also checked for damage. Exit code 1 when something is wrong.
    """
    with _database(url, store_uri) as database:
        found = inspect(database)
    if as_json:
        print_json(found)
    else:
        print_fields(
            (
                ("database", found.database),
                ("schema", found.version or "none (empty)"),
                ("this headrace", found.head),
                *(("problem", problem) for problem in found.problems),
            )
        )
        if not found.problems:
            click.echo("All is well.")
    if found.problems:
        click.get_current_context().exit(FAILED)


@db.command()
@url_argument
@click.option("--version", default="head", show_default=True, help="Schema version to go to.")
@store_option
def upgrade(url: str | None, version: str, store_uri: str | None) -> None:
    """Bring the schema up to what this headrace works with; an empty database gets it whole."""
    with _database(url, store_uri, create=True) as database:
        before = migrations.state(database)
        migrations.upgrade(database, version)
        after = migrations.state(database)
    if before.version == after.version:
        click.echo(f"Nothing to do: the schema is {after.version}.")
    else:
        click.echo(f"The schema went from {before.version or 'none'} to {after.version}.")


@db.command()
@click.argument("version")
@url_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@store_option
def downgrade(version: str, url: str | None, yes: bool, store_uri: str | None) -> None:
    """Take the schema back to VERSION ("base" removes it). What that version cannot hold is lost."""
    with _database(url, store_uri) as database:
        before = migrations.state(database)
        if not yes:
            click.confirm(
                f"Take {_shown(database)} from schema {before.version} back to {version}? "
                "Data that it cannot hold is lost",
                abort=True,
                err=True,
            )
        migrations.downgrade(database, version)
        after = migrations.state(database)
    click.echo(f"The schema went from {before.version or 'none'} to {after.version or 'none'}.")


def inspect(database: Database) -> Check:
    """Schema version and, on SQLite, the soundness of the file."""
    problems: list[str] = []
    version: str | None = None
    try:
        state = migrations.state(database)
        version = state.version
        if version is None:
            problems.append("The database is empty; headrace db upgrade makes the schema.")
        elif not state.current:
            remedy = (
                "back it up, then run headrace db upgrade"
                if version < state.head
                else "use the newer headrace that made it"
            )
            problems.append(
                f"Schema {version} is not the one this headrace works with ({state.head}): {remedy}."
            )
    except SchemaMismatch as error:
        problems.append(error.message)
    if database.is_sqlite:
        with database.read() as connection:
            report = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(10)")]
        if report != ["ok"]:
            problems.append(
                f"The file is damaged ({'; '.join(report)[:300]}); restore a backup, or save what can "
                "be read with: sqlite3 FILE .recover"
            )
    return Check(
        database=_shown(database), version=version, head=migrations.HEAD, problems=tuple(problems)
    )


@contextlib.contextmanager
def _database(
    url: str | None, store_uri: str | None, *, create: bool = False
) -> Iterator[Database]:
    uri = url or store_uri
    if uri is not None and is_remote(uri):
        raise InvalidParameter(
            f"'{uri}' is a server: run headrace db where its database is, and name that with --store."
        )
    location = locate(uri)
    if not create:
        must_exist(location.database_url)
    database = Database(location.database_url)
    try:
        yield database
    finally:
        database.close()


def _shown(database: Database) -> str:
    return database.url.render_as_string(hide_password=True)
