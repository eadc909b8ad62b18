"""Carries out what firings do, after they were committed, and notes what came of it.

What was done but not noted, because the process was killed, is done again by whoever takes over: so setting
a tag and asking a run to stop are the same when done twice, and who is called gets the firing's number to
know it by.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import logging
import queue
import threading
import time
import traceback
import types
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from headrace.engine import Engine
from headrace.engine.rules.leaves import pattern_of
from headrace.engine.rules.records import Done, Pending
from headrace.errors import HeadraceError, NotFound, PermissionDenied, Unavailable, Unsupported
from headrace.protocol.operation import operations_of
from headrace.protocol.store import Store

_log = logging.getLogger(__name__)

#: Group of the entry points that `call` may name.
ENTRY_POINTS = "headrace.actions"
#: Seconds that a call may take. It cannot be ended, so it goes on after that, but nobody waits.
CALL_S = 30.0
#: Calls that may run at once; those that hang, which cannot be ended, count.
_CALLS = 8
#: Firings whose outcomes are written at once.
_BATCH = 200
_RETRY_S = 1.0
#: While the database is away, an action is tried so often.
_TRIES = 30
#: Seconds between two looks whether the process ends, while a call is waited for.
_LOOK_S = 0.1


class _Stopping(Exception):
    """The process ends: what was not done is done by the next."""


class Actions:
    """Carries out actions, in threads of its own."""

    def __init__(
        self, engine: Engine, allowed: Sequence[str] = (), *, call_s: float = CALL_S
    ) -> None:
        """Begin.

        Args:
            engine: The store.
            allowed: What may be called: ``package.module:function`` or names of entry points; ``*`` and
                ``?`` match any text.
            call_s: Seconds that a call may take.
        """
        self._engine = engine
        self._allowed = [pattern_of(one) for one in allowed]
        self._call_s = call_s
        self._queue: queue.SimpleQueue[Pending | Done | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        #: Numbers of the firings that wait, or are being carried out.
        self._waiting: set[int] = set()
        #: Firings that call something, so that whoever hangs delays no other.
        self._callers = ThreadPoolExecutor(_CALLS, thread_name_prefix="headrace-rule-calls")
        self._calls = threading.Semaphore(_CALLS)
        self._thread = threading.Thread(target=self._run, name="headrace-actions", daemon=True)
        self._thread.start()

    def add(self, firings: Sequence[Pending]) -> None:
        """Carry these out."""
        for one in firings:
            if one.actions and one.number not in self._waiting:
                self._waiting.add(one.number)
                self._queue.put(one)

    def close(self) -> None:
        """Note what was done. What was not begun, or hangs, is done by the next that takes over."""
        self._stop.set()
        self._queue.put(None)
        self._thread.join()
        self._callers.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            done: list[Done] = []
            item = self._queue.get()
            while item is not None:
                if type(item) is Done:
                    done.append(item)
                elif type(item) is Pending and any("call" in one for one in item.actions):
                    self._callers.submit(self._carry_out, item)
                elif type(item) is Pending:
                    self._carry_out(item)
                if len(done) >= _BATCH or self._queue.empty():
                    break
                item = self._queue.get()
            self._note(done)

    def _carry_out(self, firing: Pending) -> None:
        with contextlib.suppress(_Stopping):
            self._queue.put(Done(firing, [self._outcome(firing, one) for one in firing.actions]))

    def _note(self, done: list[Done]) -> None:
        while done:
            try:
                self._engine.change("record_actions", done)
                self._waiting.difference_update(one.firing.number for one in done)
                return
            except HeadraceError as error:
                _log.warning("What came of rules' actions cannot be written yet: %s", error)
                if self._stop.wait(_RETRY_S):
                    return

    def _outcome(self, firing: Pending, action: dict[str, Any]) -> dict[str, Any]:
        (kind,) = action
        outcome: dict[str, Any] = {"action": kind, "time": time.time_ns() // 1_000_000}
        try:
            detail = _ACTIONS[kind](self, firing, action[kind])
        except HeadraceError as error:
            return outcome | {"done": False, "error": error.message}
        except _Stopping:
            raise
        except Exception as error:  # noqa: BLE001 - one action that fails must not keep the others from being done
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"[:1000]
            _log.warning("Action %s of rule '%s' failed: %s", kind, firing.rule, told)
            return outcome | {"done": False, "error": told}
        return outcome | {"done": True, "detail": detail}

    def _notify(self, firing: Pending, names: Sequence[str]) -> str:
        return f"in the event rule.fired, for {', '.join(names)}"

    def _set_tag(self, firing: Pending, tag: dict[str, str]) -> str:
        if tag.get("on", "run") == "run":
            self._perform(
                "set_tag", firing, run_id=_run(firing), key=tag["key"], value=tag["value"]
            )
            return f"tag {tag['key']} of run {firing.run_id} is {tag['value']}"
        if firing.experiment_id is None:
            raise NotFound(
                f"The firing is about no experiment whose tag {tag['key']} could be set."
            )
        number = str(firing.experiment_id)
        self._perform(
            "set_experiment_tag", firing, experiment_id=number, key=tag["key"], value=tag["value"]
        )
        return f"tag {tag['key']} of experiment {number} is {tag['value']}"

    def _stop_run(self, firing: Pending, reason: str) -> str:
        run_id = _run(firing)
        self._perform("stop_run", firing, run_id=run_id, reason=reason or firing.title)
        return f"run {run_id} was asked to stop"

    def _set_alias(self, firing: Pending, action: dict[str, Any]) -> str:
        name, alias = action["model"], action["alias"]
        version = str(action.get("version") or self._made_by(firing, name))
        if version == "latest":
            version = self._perform(
                "get_model_version_by_alias", firing, name=name, alias=version
            ).model_version.version
        self._perform("set_registered_model_alias", firing, name=name, alias=alias, version=version)
        return f"alias {alias} of model {name} points to version {version}"

    def _made_by(self, firing: Pending, name: str) -> str:
        """The newest version of a model that the firing's run made."""
        found = self._perform(
            "search_model_versions",
            firing,
            filter=f"name = {_quoted(name)} AND run_id = {_quoted(_run(firing))}",
            order_by=["version_number DESC"],
            max_results=1,
        ).model_versions
        if not found:
            raise NotFound(f"Run {firing.run_id} made no version of the model '{name}'.")
        return str(found[0].version)

    def _perform(self, name: str, firing: Pending, /, **fields: Any) -> Any:
        operation = operations_of(Store).get(name)
        if operation is None:
            raise Unsupported(
                f"This server has no operation {name}: upgrade it to use this action."
            )
        request = operation.build(**fields)
        for _ in range(_TRIES):
            with contextlib.suppress(Unavailable):
                return self._engine.perform(operation, request, f"rule:{firing.rule}")
            if self._stop.wait(_RETRY_S):
                raise _Stopping
        return self._engine.perform(operation, request, f"rule:{firing.rule}")

    def _call(self, firing: Pending, target: str) -> str:
        if not any(match(target) for match in self._allowed):
            raise PermissionDenied(
                f"'{target}' may not be called: the server's configuration does not allow it. Start it with "
                f"--rule-calls {target}."
            )
        if not self._calls.acquire(blocking=False):
            raise Unsupported(f"{_CALLS} calls of rules have not returned yet; no more are made.")
        answer: Future[Any] = Future()

        def call() -> None:
            try:
                answer.set_result(_found(target)(_document(firing)))
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
                answer.set_exception(error)
            except BaseException as error:  # noqa: BLE001 - exit() ends that call, not the thread that waits
                answer.set_exception(Unsupported(f"'{target}' raised {error!r}"[:500]))
            finally:
                self._calls.release()

        threading.Thread(target=call, name="headrace-rule-call", daemon=True).start()
        deadline = time.monotonic() + self._call_s
        while not wait([answer], _LOOK_S).done:
            if self._stop.is_set():
                raise _Stopping
            if time.monotonic() > deadline:
                raise Unsupported(
                    f"'{target}' did not return within {self._call_s:g} s; do long work elsewhere."
                )
        found = answer.result()
        return "returned" if found is None else f"returned {found!r}"[:500]


_ACTIONS: dict[str, Callable[[Actions, Pending, Any], str]] = {
    "notify": Actions._notify,
    "set_tag": Actions._set_tag,
    "stop_run": Actions._stop_run,
    "set_alias": Actions._set_alias,
    "call": Actions._call,
}


def _run(firing: Pending) -> str:
    if not firing.run_id:
        raise NotFound("The firing is about no run: use group_by: run.")
    return firing.run_id


def _quoted(text: str) -> str:
    """A text as a filter has it.

    Raises:
        Unsupported: It has both kinds of quotes, which no filter can say.
    """
    for quote in "'\"":
        if quote not in text:
            return f"{quote}{text}{quote}"
    raise Unsupported(f"The name {text} has both kinds of quotes: rename the model.")


def _document(firing: Pending) -> dict[str, Any]:
    """What is called gets."""
    return {
        "firing": firing.number, "rule": firing.rule, "group": firing.group, "run_id": firing.run_id,
        "experiment_id": "" if firing.experiment_id is None else str(firing.experiment_id),
        "severity": firing.severity, "title": firing.title, "text": firing.text, "time": firing.time,
        "values": firing.values,
    }  # fmt: skip


def _found(target: str) -> Callable[[dict[str, Any]], Any]:
    """The function that a target names."""
    if ":" not in target:
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=target):
            found: Callable[[dict[str, Any]], Any] = point.load()
            return found
        raise NotFound(
            f"No installed package has an entry point '{target}' in group {ENTRY_POINTS}."
        )
    module, _, path = target.partition(":")
    thing: Any = importlib.import_module(module)
    for name in path.split("."):
        thing = getattr(thing, name)
        if isinstance(thing, types.ModuleType):
            # Whoever allows "mine:*" allows what is in that module, not what it imports: mine:os.abort.
            raise PermissionDenied(
                f"'{target}' is in another module, {thing.__name__}: name that module before the colon."
            )
    function: Callable[[dict[str, Any]], Any] = thing
    return function
