"""Which store and which experiment the fluent API talks to: one choice for the whole process.

`set_tracking_uri` and `set_experiment` also set the environment variables ``HEADRACE_TRACKING_URI`` and
``HEADRACE_EXPERIMENT_ID``, so that processes started from here log to the same place.
"""

from __future__ import annotations

import contextlib
import os
import threading
from urllib.parse import unquote

from headrace.client.environment import setting
from headrace.client.journal.journals import retire
from headrace.client.stores import resolve
from headrace.entities import Experiment, LifecycleStage
from headrace.errors import AlreadyExists, InvalidParameter, InvalidState, NotFound, Unavailable
from headrace.tracking.client import LoggingClient

DEFAULT_EXPERIMENT_ID = "0"

#: Stores that stay open.
_CLIENTS = 8

_URI = "HEADRACE_TRACKING_URI"
_EXPERIMENT = "HEADRACE_EXPERIMENT_ID"
_EXPERIMENT_NAME = "HEADRACE_EXPERIMENT_NAME"


class Choice:
    """The tracking URI and the experiment that were set, and the clients in use, by their URI."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._clients: dict[str | None, LoggingClient] = {}
        self.uri: str | None = None
        self.experiment_id: str | None = None
        #: Chosen while the store could not be asked for its id.
        self.experiment_name: str | None = None
        self._exported: dict[str, str] = {}
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # another thread of the parent may have held it

    def set_uri(self, uri: str | None) -> None:
        """Choose a store; another one than before forgets the experiment that was set."""
        with self._lock:
            if uri != self.uri:
                self.set_experiment(None)
            self.uri = uri
            self._export(_URI, uri)

    def set_experiment(self, experiment_id: str | None, name: str | None = None) -> None:
        """Choose an experiment, by id or, where that cannot be known yet, by name."""
        with self._lock:
            self.experiment_id = experiment_id
            self.experiment_name = name
            self._export(_EXPERIMENT, experiment_id)
            self._export(_EXPERIMENT_NAME, name)

    def client(self, uri: str | None = None) -> LoggingClient:
        """The client for a store, default the chosen one; opened on first use."""
        uri = uri or self.uri or setting("TRACKING_URI")
        client = self._clients.get(uri)
        if client is None:
            with self._lock:
                client = self._clients.get(uri)
                if client is None:
                    client = self._clients[uri] = LoggingClient(uri)
                    self._let_go()
        return client

    def _let_go(self) -> None:
        """Close the oldest clients, beyond a few, where no run is under way: each holds files and threads."""
        for uri, client in list(self._clients.items())[:-_CLIENTS]:
            if uri and retire(client.tracking_uri):
                del self._clients[uri]
                client.close()

    def default_uri(self) -> str:
        """The default store: once it is in use it stays the one, wherever the program goes."""
        client = self._clients.get(None)
        return resolve() if client is None else client.tracking_uri

    def reset(self) -> None:
        """Forget every choice and close the clients."""
        with self._lock:
            self.set_uri(None)
            self.set_experiment(None)
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()

    def _export(self, name: str, value: str | None) -> None:
        """Set an environment variable, or unset it if it is still as it was set here."""
        if value is not None:
            os.environ[name] = self._exported[name] = value
        elif name in self._exported and os.environ.get(name) == self._exported.pop(name):
            del os.environ[name]


#: The one choice of this process; the functions below are its face.
choice = Choice()


def set_tracking_uri(uri: str | os.PathLike[str]) -> None:
    """Choose the store that runs are tracked in.

    Args:
        uri: A directory, ``sqlite:///path``, ``postgresql://…`` or ``http(s)://host:port``; ``""`` goes
            back to the default. It is opened on first use. See `Client` for the default.
    """
    choice.set_uri(_absolute(uri) or None)


def _absolute(uri: str | os.PathLike[str]) -> str:
    text = os.fspath(uri)
    if text.startswith("file:") and "://" not in text:  # file:./mlruns, as MLflow's users write
        text = unquote(text.removeprefix("file:"))
    if text and "://" not in text:
        text = os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 - as text
    return text


def get_tracking_uri() -> str:
    """The store that runs are tracked in: as it was set, else from the environment, else the default."""
    return choice.uri or setting("TRACKING_URI") or choice.default_uri()


def is_tracking_uri_set() -> bool:
    """Whether a tracking URI was set, by `set_tracking_uri` or the environment."""
    return bool(choice.uri or setting("TRACKING_URI"))


def set_registry_uri(uri: str | os.PathLike[str]) -> None:
    """As MLflow has it; the registry is in the store that runs are tracked in, so there is nothing to choose.

    Raises:
        InvalidParameter: It is another store than that.
    """
    if os.fspath(uri) and _absolute(uri) != _absolute(get_tracking_uri()):
        raise InvalidParameter(
            f"The registry is in the store that runs are tracked in, {get_tracking_uri()}: call set_tracking_uri('{uri}') instead."
        )


def get_registry_uri() -> str:
    """The store that has the registered models: the one that runs are tracked in."""
    return get_tracking_uri()


def set_experiment(
    experiment_name: str | None = None, experiment_id: str | None = None
) -> Experiment:
    """Choose the experiment that new runs belong to.

    Args:
        experiment_name: It is created if there is no active one of that name.
        experiment_id: Of an existing one. Give one of the two.

    Returns:
        The experiment. Its id is empty when the store cannot be reached: then runs carry the name, and
        the store finds or creates the experiment when they arrive.

    Raises:
        NotFound: No experiment has that id.
        InvalidState: The experiment is deleted.
        InvalidParameter: Both or neither given.
    """
    if (experiment_name is None) == (experiment_id is None):
        raise InvalidParameter("Give either experiment_name or experiment_id, not both.")
    try:
        if experiment_id is not None:
            experiment = choice.client().get_experiment(experiment_id)
        else:
            assert experiment_name is not None
            experiment = find_or_create(experiment_name)
    except Unavailable:
        choice.set_experiment(experiment_id, experiment_name)
        return Experiment(
            experiment_id=experiment_id or "",
            name=experiment_name or "",
            artifact_location="",
            lifecycle_stage=LifecycleStage.ACTIVE,
            creation_time=0,
            last_update_time=0,
        )
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InvalidState(
            f"Cannot set experiment '{experiment.name}' ({experiment.experiment_id}): it is deleted. "
            "Restore it with restore_experiment, or use another name."
        )
    choice.set_experiment(experiment.experiment_id)
    return experiment


def find_or_create(name: str) -> Experiment:
    """The active experiment of that name, created if there is none.

    On a server where a deleted experiment keeps its name, that one.
    """
    client = choice.client()
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == LifecycleStage.ACTIVE:
        return experiment
    try:
        return client.get_experiment(client.create_experiment(name))
    except AlreadyExists:
        # Somebody else was faster, or the name is kept by the deleted one.
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return experiment


def chosen_experiment(*, ask: bool = True) -> tuple[str, str]:
    """The experiment of a run that is started now: its id, else its name, else neither (the default).

    Args:
        ask: The store can be asked.

    Raises:
        InvalidParameter: As `experiment_id`.
    """
    if ask and choice.experiment_id is None and choice.experiment_name is None:
        with contextlib.suppress(Unavailable):
            return experiment_id(), ""
    name = choice.experiment_name or setting("EXPERIMENT_NAME")
    return choice.experiment_id or ("" if name else setting("EXPERIMENT_ID")) or "", name or ""


def experiment_id() -> str:
    """The experiment of a run that is started now, when the store can be asked.

    The one that was set; else the environment's, by ``HEADRACE_EXPERIMENT_NAME`` (created if missing)
    or ``HEADRACE_EXPERIMENT_ID``, or MLflow's variables of these names; else the default one.

    Raises:
        InvalidParameter: The environment names an experiment that does not exist, or two.
    """
    if choice.experiment_id is not None:
        return choice.experiment_id
    name, number = setting("EXPERIMENT_NAME"), setting("EXPERIMENT_ID")
    if name is not None:
        found = find_or_create(name).experiment_id
        if number is not None and number != found:
            raise InvalidParameter(
                f"The environment names experiment '{name}' ({found}) and experiment id '{number}': "
                "unset HEADRACE_EXPERIMENT_NAME or HEADRACE_EXPERIMENT_ID (or MLflow's)."
            )
        return found
    if number is not None:
        try:
            return choice.client().get_experiment(number).experiment_id
        except NotFound:
            raise InvalidParameter(
                f"The environment's experiment id '{number}' does not exist in {get_tracking_uri()}: "
                "correct or unset HEADRACE_EXPERIMENT_ID (or MLFLOW_EXPERIMENT_ID)."
            ) from None
    return DEFAULT_EXPERIMENT_ID
