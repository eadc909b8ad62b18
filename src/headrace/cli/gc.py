"""``headrace gc``: empty the trash."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import msgspec

from headrace.artifacts.locations import lies_within, local_folder
from headrace.cli.choices import SPAN, split_ids
from headrace.cli.outcome import FAILED, complain
from headrace.cli.output import json_option, print_json
from headrace.cli.store import ask, opened, store_option
from headrace.client.artifacts import artifacts_at
from headrace.client.stores import is_remote, resolve
from headrace.engine.location import locate
from headrace.errors import HeadraceError, InvalidParameter
from headrace.protocol.store import Store
from headrace.protocol.trash import PurgedTrash, PurgeTrash, Trash

#: Purged in one transaction. Small, so that little is left over when the command is killed between
#: purging runs and deleting their files.
_BATCH = 200
_DRY_RUN = 10_000
_DAY = 86_400_000
#: Run ids as stores make them. Imports choose their own.
_MADE = re.compile(r"[0-9a-f]{32}")
_MADE_MODEL = re.compile(r"m-[0-9a-f]{32}")


class Folder(msgspec.Struct, frozen=True):
    """Artifacts of a run, logged model or experiment: a folder, and the location that it lies in.

    ``safe`` says that nothing else can lie there; what is not safe is left, and named.
    """

    root: str
    path: str
    safe: bool = True

    @property
    def uri(self) -> str:
        return f"{self.root}/{self.path}".rstrip("/")


class Report(msgspec.Struct, kw_only=True):
    """What went, or with ``dry_run`` would go."""

    dry_run: bool
    run_ids: list[str] = []
    experiment_ids: list[str] = []
    logged_model_ids: list[str] = []
    artifacts_left: list[str] = []


@click.command()
@click.option("--older-than", type=SPAN, help="Only what has been in the trash for so long: 30d, 12h, 1d6h.  [default: 30d; 0s with ids]")  # fmt: skip
@click.option("--run-ids", "--run-id", "run_ids", multiple=True, callback=split_ids, help="Only these runs; several between commas.")  # fmt: skip
@click.option("--experiment-ids", "--experiment-id", "experiment_ids", multiple=True, callback=split_ids, help="Only these experiments, with their runs and logged models.")  # fmt: skip
@click.option("--logged-model-ids", "--logged-model-id", "logged_model_ids", multiple=True, callback=split_ids, help="Only these logged models.")  # fmt: skip
@click.option("--artifacts", "--artifacts-destination", "artifacts", metavar="URI", help="Where the artifacts are, if the server of this store was started with --artifacts or --default-artifact-root.")  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Say what would go, and leave it.")
@json_option
@click.option("--backend-store-uri", hidden=True, help="As --store, as MLflow calls it.")
@store_option
def gc(
    older_than: int | None,
    run_ids: tuple[str, ...],
    experiment_ids: tuple[str, ...],
    logged_model_ids: tuple[str, ...],
    artifacts: str | None,
    dry_run: bool,
    as_json: bool,
    backend_store_uri: str | None,
    store_uri: str | None,
) -> None:
    """Remove deleted runs, logged models and experiments for good: their rows, and the files of their artifacts.

    Without ids: everything that has been in the trash for 30 days. What is active is never touched.
    """
    named = PurgeTrash(
        run_ids=run_ids, experiment_ids=experiment_ids, logged_model_ids=logged_model_ids
    )
    if older_than is None:
        older_than = 30 * _DAY if named == PurgeTrash() else 0
    report = Report(dry_run=dry_run)
    pending: list[Folder] = []
    uri = backend_store_uri or store_uri
    own = _own_root(uri, artifacts)
    with opened(uri, artifacts=own) as store:
        try:
            for purged in _purge(store, older_than, named, dry_run):
                report.run_ids += purged.run_ids
                report.logged_model_ids += purged.logged_model_ids
                report.experiment_ids += purged.experiment_ids
                pending = [] if dry_run else list(_folders(purged, own))
                while pending:
                    if not _delete(store, pending[0]):
                        report.artifacts_left.append(pending[0].uri)
                    pending.pop(0)
        finally:
            # Also when interrupted: these rows are gone, so nothing else knows of the files.
            report.artifacts_left += [folder.uri for folder in pending]
            for uri in report.artifacts_left:
                complain(f"artifacts were not deleted, delete them yourself: {uri}")
    if as_json:
        print_json(report)
    else:
        _say(report)
    if report.artifacts_left:
        click.get_current_context().exit(FAILED)


def _say(report: Report) -> None:
    said = "Would remove" if report.dry_run else "Removed"
    runs, experiments = len(report.run_ids), len(report.experiment_ids)
    counted = f"{_count(runs, 'run')} and {_count(experiments, 'experiment')}"
    if report.logged_model_ids:
        models = _count(len(report.logged_model_ids), "logged model")
        counted = f"{_count(runs, 'run')}, {models} and {_count(experiments, 'experiment')}"
    click.echo(f"{said} {counted}.")
    if report.dry_run:
        for noun, ids in (
            ("run", report.run_ids),
            ("logged model", report.logged_model_ids),
            ("experiment", report.experiment_ids),
        ):
            for one in ids:
                click.echo(f"{noun} {one}")


def _purge(
    store: Store, older_than: int, named: PurgeTrash, dry_run: bool
) -> Iterator[PurgedTrash]:
    """Purge batch by batch until nothing is left to purge."""
    runs, models = list(named.run_ids), list(named.logged_model_ids)
    experiments = list(named.experiment_ids)
    everything = named == PurgeTrash()
    while True:
        some, some_models = runs[:_BATCH], models[:_BATCH]
        single = bool(some or some_models)
        purged: PurgedTrash = ask(
            store,
            Trash.purge_trash,
            older_than_ms=older_than,
            run_ids=runs if dry_run else some,
            logged_model_ids=models if dry_run else some_models,
            experiment_ids=() if single and not dry_run else experiments,
            limit=_DRY_RUN if dry_run else _BATCH,
            dry_run=dry_run,
        )
        yield purged
        gone = purged.run_ids or purged.logged_model_ids or purged.experiment_ids
        if dry_run or not gone:
            return
        runs, models = runs[len(some) :], models[len(some_models) :]
        experiments = [one for one in experiments if one not in purged.experiment_ids]
        if not everything and not (runs or models or experiments):
            return


def _own_root(uri: str | None, artifacts: str | None) -> str | None:
    """The artifact root of a local store; None for a server's, which is the server's affair."""
    if is_remote(resolve(uri)):
        if artifacts is not None:
            raise InvalidParameter("--artifacts is for a store on this machine: leave it out.")
        return None
    folder = None if artifacts is None else local_folder(artifacts)
    if folder is not None:
        return folder.resolve().as_uri()
    return (artifacts or locate(uri).artifacts).rstrip("/")


def _folders(purged: PurgedTrash, own: str | None) -> Iterator[Folder]:
    """Where the artifacts of what was purged lie, experiments last.

    Anybody who may write to a store may choose an experiment's location and, importing a run, its id.
    That must not make this command delete what is no run's: ``file:///home/ann`` and ``thesis``, say.
    So outside of the store's own root a run's folder goes only when its id is one that stores make, and
    a local one never on the word of a server. An experiment's location goes only when nobody chose it.
    """
    uris = purged.artifact_uris
    for run_id, uri in zip(purged.run_ids, uris, strict=False):
        path = f"{run_id}/artifacts"
        root = uri.removesuffix(f"/{path}")
        if root == uri:
            yield Folder(uri, "", safe=False)
        else:
            yield Folder(root, path, safe=_is_its_own(uri, own, bool(_MADE.fullmatch(run_id))))
    for model_id, uri in zip(purged.logged_model_ids, purged.logged_model_uris, strict=False):
        path = f"models/{model_id}/artifacts"
        made = bool(_MADE_MODEL.fullmatch(model_id)) and uri.endswith(f"/{path}")
        safe = _is_its_own(uri, own, made)
        yield Folder(uri.removesuffix(f"/{path}"), path, safe=safe)
    for experiment_id, uri in zip(purged.experiment_ids, uris[len(purged.run_ids) :], strict=False):
        root, _, name = uri.rpartition("/")
        if name == experiment_id and _is_within(uri, own):
            yield Folder(root, name)


def _is_its_own(uri: str, own: str | None, made: bool) -> bool:
    """Whether nothing but the artifacts of one run or model can lie there.

    Args:
        uri: Their folder.
        own: The store's own root.
        made: The folder's name was made by a store.
    """
    try:
        foreign = own is None and local_folder(uri) is not None
        return _is_within(uri, own) or (not foreign and made)
    except InvalidParameter:  # a location that names no place, such as file://host/x
        return False


def _is_within(uri: str, own: str | None) -> bool:
    if own is None:
        return uri.startswith("mlflow-artifacts:")
    return lies_within(uri, own) and not lies_within(own, uri)


def _delete(store: Store, folder: Folder) -> bool:
    if not folder.safe:
        return False
    try:
        artifacts_at(folder.root, store).delete(folder.path)
    except HeadraceError as error:
        complain(error.message)
        return False
    return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
