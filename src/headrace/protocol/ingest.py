"""What a journal ships: declarations.

A client's journal is a sequence of records at increasing positions. It goes to the store in batches,
each a stretch of it, and the store applies each stretch once, however often it arrives: it keeps the
position that it has reached for each writer.
"""

from __future__ import annotations

from headrace.entities import (
    DatasetInput,
    KeyValue,
    LoggedModelInput,
    LoggedModelOutput,
    RunStatus,
)
from headrace.protocol.limits import Int64, Millis, Required
from headrace.protocol.operation import (
    NATIVE_PREFIXES,
    Empty,
    Interface,
    Request,
    Response,
    operation,
)
from headrace.protocol.runs import MetricPoint, RunResponse
from headrace.protocol.stops import StopNotice


class Step(Request, frozen=True, kw_only=True, tag_field="kind"):
    """Base of what a journal records besides plain metric points. Each names its run."""

    run_id: Required


class StartRun(Step, frozen=True, kw_only=True, tag="start_run"):
    """Create a run under an id that the client chose; nothing happens if it is there.

    The experiment is named by id or by name (made if there is none of that name); by neither: the
    default experiment.
    """

    experiment_id: str = ""
    experiment_name: str = ""
    run_name: str = ""
    user_id: str = ""
    start_time: Millis | None = None
    tags: tuple[KeyValue, ...] = ()


class UpdateRun(Step, frozen=True, kw_only=True, tag="update_run"):
    """Change status, end time or name. What is not given stays."""

    status: RunStatus | None = None
    end_time: Millis | None = None
    run_name: str | None = None


class LogParams(Step, frozen=True, kw_only=True, tag="log_params"):
    """Record params; one that the run has with another value is rejected alone."""

    params: tuple[KeyValue, ...] = ()


class SetTags(Step, frozen=True, kw_only=True, tag="set_tags"):
    """Set tags."""

    tags: tuple[KeyValue, ...] = ()


class LogPoints(Step, frozen=True, kw_only=True, tag="log_points"):
    """Record metric points that say more than columns can: of a logged model or a data set."""

    metrics: tuple[MetricPoint, ...] = ()


class LogInputs(Step, frozen=True, kw_only=True, tag="log_inputs"):
    """Record data sets and models that the run read."""

    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[LoggedModelInput, ...] = ()


class LogOutputs(Step, frozen=True, kw_only=True, tag="log_outputs"):
    """Record models that the run produced."""

    models: tuple[LoggedModelOutput, ...] = ()


class ConsoleLine(Request, frozen=True, array_like=True):
    """A line of console output without its end, and when it was complete (milliseconds)."""

    time: Millis
    text: str


class WriteConsole(Step, frozen=True, kw_only=True, tag="write_console"):
    """Append lines that a process printed.

    Attributes:
        stream: ``stdout`` or ``stderr``.
        source: Which process, where several write to one run, such as ``rank-3``; else empty.
        lines: Complete lines, progress bars folded.
        unfinished: The line being written now, which replaces the one before of this stream and
            source; empty when there is none.
    """

    stream: str
    source: str = ""
    lines: tuple[ConsoleLine, ...] = ()
    unfinished: str = ""


class RaiseAlert(Step, frozen=True, kw_only=True, tag="raise_alert"):
    """Tell people something about a run: an event ``run.alert.raised``.

    Attributes:
        title: One line, 1 to 250 characters.
        text: More, at most 10,000 characters.
        severity: ``info``, ``warn``, ``error`` or ``critical``.
        time: When it was raised, milliseconds since the Unix epoch; default when it arrives.
    """

    title: Required
    text: str = ""
    severity: str = "warn"
    time: Millis | None = None


class StoredFile(Request, frozen=True, kw_only=True):
    """A file or folder below a run's artifact root; ``size`` is in bytes, None when it is not known."""

    path: Required
    size: Int64 | None = None


class LogArtifacts(Step, frozen=True, kw_only=True, tag="log_artifacts"):
    """Tell that files of a run were stored, or deleted, without a server seeing it.

    Attributes:
        artifacts: The first hundred of them; more are not kept.
        count: How many there are; default as many as ``artifacts``.
        deleted: They were deleted.
    """

    artifacts: tuple[StoredFile, ...]
    count: Int64 = 0
    deleted: bool = False


AnyStep = (
    StartRun
    | UpdateRun
    | LogParams
    | SetTags
    | LogPoints
    | LogInputs
    | LogOutputs
    | WriteConsole
    | RaiseAlert
    | LogArtifacts
)


class Series(Request, frozen=True, array_like=True):
    """One metric of one run."""

    run_id: Required
    key: Required


class Batch(Request, frozen=True, kw_only=True):
    """A stretch of a journal.

    Steps of kind ``start_run`` are carried out first, then the points are recorded, then the other
    steps in their order.

    Attributes:
        writer: The journal's id, 32 hexadecimal digits.
        start: Position of the first record in it.
        end: Position after the last one. A batch with ``start == end`` only says who is alive.
        series: What ``numbers`` refers to.
        numbers: Of each point, the index of its series: little-endian uint32.
        steps: Of each point: little-endian int64.
        timestamps: Of each point, milliseconds since the Unix epoch: little-endian int64.
        values: Of each point: little-endian float64.
        operations: Everything else.
        alive: Ids of the runs that the writer is working on.
        silence: Milliseconds without a sign of life after which these runs count as lost.
    """

    writer: Required
    start: Int64
    end: Int64
    series: tuple[Series, ...] = ()
    numbers: bytes = b""
    steps: bytes = b""
    timestamps: bytes = b""
    values: bytes = b""
    operations: tuple[AnyStep, ...] = ()
    alive: tuple[str, ...] = ()
    silence: Int64 = 90_000


class Rejection(Response, frozen=True, kw_only=True):
    """Something of a batch that could not be applied, and never will be.

    ``what`` names it: ``metric <key>``, ``param <key>``, ``tag <key>``; all of a run's, because the run
    cannot be written to: ``metrics``, ``params``, ``tags``; else the kind of the step: ``start_run``,
    ``update_run``, ``log_inputs`` and so on.
    """

    run_id: str
    what: str
    message: str


class Ingested(Response, frozen=True, kw_only=True):
    """How far the store is with a writer.

    ``position`` is the batch's end when it was applied, now or earlier. Another position means that
    nothing of this batch was applied now: send again, from there. To an empty batch it is the position
    that the store has for the writer, 0 if it does not know it.

    ``stop`` names those of the runs in the batch that were asked to stop.
    """

    position: int
    rejected: tuple[Rejection, ...] = ()
    stop: tuple[StopNotice, ...] = ()


class Ingest(Interface):
    """The way of journals into the store."""

    @operation("POST", "/runs/start", permission="run:create", prefixes=NATIVE_PREFIXES)
    def start_run(self, request: StartRun) -> RunResponse:
        """Create a run under an id that the client chose, or answer the run that has it.

        Raises:
            InvalidParameter: A run id, tag or name that cannot be one; a deleted experiment.
            NotFound: The experiment does not exist.
        """
        raise NotImplementedError

    @operation("POST", "/runs/artifacts/logged", permission="run:edit", prefixes=NATIVE_PREFIXES)
    def log_artifacts(self, request: LogArtifacts) -> Empty:
        """Tell that files of a run were stored, or deleted: an event ``run.artifacts.logged``.

        What goes through a server's artifact proxy the server tells by itself.

        Raises:
            NotFound: There is no such run.
            InvalidParameter: It is deleted, or no file is given.
        """
        raise NotImplementedError

    @operation("POST", "/ingest", permission="run:edit", prefixes=NATIVE_PREFIXES, binary=True)
    def ingest(self, request: Batch) -> Ingested:
        """Apply a stretch of a writer's journal, once.

        With the position ``p`` that the store has for the writer (0 if it does not know it):

        - ``end <= p``: all of it was applied before; nothing happens.
        - ``start < p < end``: the batch was cut elsewhere before; nothing happens.
        - ``start >= p``: it is applied, and ``p`` is ``end`` then, in one transaction.

        What cannot be applied (an unknown or deleted run, a bad key, a param with another value) is
        left out, reported in the answer, and kept as an event ``run.logging.rejected``; the rest is
        applied.

        Raises:
            InvalidParameter: Columns of different lengths, a series number out of range, ``end`` before
                ``start``: nothing is applied.
        """
        raise NotImplementedError
