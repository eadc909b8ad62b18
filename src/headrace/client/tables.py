"""Tables as artifacts: JSON (MLflow's "split" form) or Parquet."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.client.images import ImageCalls, is_image
from headrace.entities import Run
from headrace.errors import InvalidParameter, NotFound

if TYPE_CHECKING:
    import pandas as pd

LOGGED_ARTIFACTS_TAG = "mlflow.loggedArtifacts"
_FORBIDDEN = "\"',:[]{}"


class TableCalls(ImageCalls):
    """Tables. Parquet files need pandas and pyarrow; JSON files need nothing."""

    def log_table(
        self, run_id: str, data: Mapping[str, Any] | pd.DataFrame, artifact_file: str
    ) -> None:
        """Write a table, or append to it when the run has one of that name.

        Not for several writers of one table at a time: the last one wins.

        Args:
            run_id: The run.
            data: A pandas frame, or a dictionary of columns (a dictionary of single values is one
                row). Cells may be images; they are stored as files of their own.
            artifact_file: Ends in ``.json`` or ``.parquet``.

        Raises:
            InvalidParameter: Another extension, columns of different lengths, or no table at all.
        """
        _check_file(artifact_file)
        columns, rows = _table(data)
        rows = [
            [
                self._log_table_image(run_id, artifact_file, cell) if is_image(cell) else cell
                for cell in row
            ]
            for row in rows
        ]
        old = self._read_table(run_id, artifact_file)
        if artifact_file.endswith(".parquet"):
            frame = _frame(data, columns, rows)
            if old is not None:
                frame = _pandas().concat([_pandas().read_parquet(io.BytesIO(old)), frame])
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            body = buffer.getvalue()
        else:
            if old is not None:
                columns, rows = _appended(json.loads(old), columns, rows)
            cells = [[_cell(cell) for cell in row] for row in rows]
            body = json.dumps({"columns": columns, "data": cells}, default=_plain).encode()
        self._write_table(run_id, artifact_file, body)

    def _read_table(self, run_id: str, artifact_file: str) -> bytes | None:
        """The table's file as it is; None when there is none."""
        store = self.artifacts_of(run_id)
        try:
            with store.read(artifact_file) as content:
                return content.read()
        except NotFound:
            return None

    def _write_table(self, run_id: str, artifact_file: str, body: bytes) -> None:
        self._write(run_id, artifact_file, body)
        self._note_table(run_id, artifact_file)

    def load_table(
        self,
        experiment_id: str,
        artifact_file: str,
        run_ids: Sequence[str] | None = None,
        extra_columns: Sequence[str] | None = None,
    ) -> pd.DataFrame | list[dict[str, Any]]:
        """The tables of that name of an experiment's runs, one below the other.

        Args:
            experiment_id: Where to look.
            artifact_file: As given to `log_table`.
            run_ids: Only these runs.
            extra_columns: Columns to add from the run: ``run_id``, ``start_time``, ``params.lr``, …

        Returns:
            A pandas frame when pandas is there, else a list with a dictionary for each row.

        Raises:
            NotFound: No run has the table.
            InvalidParameter: An extra column that no run has.
        """
        _check_file(artifact_file)
        records: list[dict[str, Any]] = []
        found = False
        for run in self._runs_with_table(experiment_id, artifact_file, run_ids):
            found = True
            extra = {name: _run_column(run, name) for name in extra_columns or ()}
            with self.artifacts_of(run.info.run_id).read(artifact_file) as content:
                records.extend({**row, **extra} for row in _records(artifact_file, content.read()))
        if not found:
            raise NotFound(
                f"No run of experiment '{experiment_id}' has a table '{artifact_file}'; "
                "tables are written with log_table."
            )
        return _pandas().DataFrame(records) if has_pandas() else records

    def _runs_with_table(
        self, experiment_id: str, artifact_file: str, run_ids: Sequence[str] | None
    ) -> list[Run]:
        pattern = f'%"path"%:%"{artifact_file}",%"type"%:%"table"%'
        query = f"tags.{LOGGED_ARTIFACTS_TAG} LIKE '{pattern}'"
        if run_ids:
            query += f" AND attributes.run_id IN ({', '.join(map(repr, run_ids))})"
        runs: list[Run] = []
        token = None
        while True:
            page = self.search_runs([experiment_id], query, max_results=1000, page_token=token)
            # LIKE takes the "_" in a name for any character.
            runs.extend(run for run in page if table_note(artifact_file) in _noted(run))
            token = page.token
            if token is None:
                return runs

    def _note_table(self, run_id: str, artifact_file: str) -> None:
        """Say in the run's tag that it has the table."""
        noted, note = _noted(self.get_run(run_id)), table_note(artifact_file)
        if note not in noted:
            self.set_tag(run_id, LOGGED_ARTIFACTS_TAG, json.dumps([*noted, note]))


def table_note(artifact_file: str) -> dict[str, str]:
    """What the tag ``mlflow.loggedArtifacts`` says of a table."""
    return {"path": artifact_file, "type": "table"}


def _noted(run: Run) -> list[Any]:
    """What a run's tag says of tables and the like."""
    noted: list[Any] = json.loads(run.data.tags.get(LOGGED_ARTIFACTS_TAG, "[]"))
    return noted


def has_pandas() -> bool:
    """Whether pandas is installed; it is not imported."""
    return importlib.util.find_spec("pandas") is not None


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("Parquet tables need pandas and pyarrow: install them.") from None
    return pd


def _check_file(artifact_file: str) -> None:
    if not artifact_file.endswith((".json", ".parquet")):
        raise InvalidParameter(
            f"Invalid artifact file '{artifact_file}': a table's file ends in .json or .parquet."
        )
    bad = [character for character in _FORBIDDEN if character in artifact_file]
    if bad:
        raise InvalidParameter(f"The artifact file '{artifact_file}' must not hold {bad[0]!r}.")


def _table(data: Any) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows."""
    if isinstance(data, Mapping):
        columns = [str(name) for name in data]
        if any(_is_column(value) for value in data.values()):
            values = [list(value) if _is_column(value) else None for value in data.values()]
            length = max(len(column) for column in values if column is not None)
            filled = [
                [value] * length if column is None else column
                for column, value in zip(values, data.values(), strict=True)
            ]
            if any(len(column) != length for column in filled):
                raise InvalidParameter(
                    "All columns of a table need the same length, got "
                    f"{ {name: len(column) for name, column in zip(columns, filled, strict=True)} }."
                )
            return columns, [list(row) for row in zip(*filled, strict=True)]
        return columns, [list(data.values())]
    if hasattr(data, "columns") and hasattr(data, "itertuples"):
        return [str(name) for name in data.columns], [
            list(row) for row in data.itertuples(index=False, name=None)
        ]
    raise InvalidParameter(
        f"Cannot log a {type(data).__name__} as a table: give a pandas.DataFrame or a dictionary."
    )


def _is_column(value: Any) -> bool:
    return isinstance(value, list | tuple) or (
        hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1
    )


def _frame(data: Any, columns: list[str], rows: list[list[Any]]) -> Any:
    """The table as a pandas frame; the frame that was given keeps its column types."""
    unchanged = hasattr(data, "to_parquet") and not any(
        isinstance(cell, dict) and "compressed_filepath" in cell for row in rows for cell in row
    )
    return data if unchanged else _pandas().DataFrame(rows, columns=columns)


def _appended(
    old: dict[str, Any], columns: list[str], rows: list[list[Any]]
) -> tuple[list[str], list[list[Any]]]:
    """Old rows and new ones over the columns of both; what a row lacks is null."""
    merged = list(dict.fromkeys([*old["columns"], *columns]))
    records = [dict(zip(old["columns"], row, strict=True)) for row in old["data"]]
    records += [dict(zip(columns, row, strict=True)) for row in rows]
    return merged, [[record.get(name) for name in merged] for record in records]


def _cell(value: Any) -> Any:
    """A missing value as JSON's null: NaN, NaT and the infinities, as pandas writes them."""
    if value is None or isinstance(value, str | int | dict | list):
        return value
    missing = value != value or (isinstance(value, float) and math.isinf(value))
    return None if missing is True else value


def _plain(value: Any) -> Any:
    """What JSON has no word for: numpy values as numbers and lists, times as ISO text."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def _records(artifact_file: str, body: bytes) -> list[dict[str, Any]]:
    if artifact_file.endswith(".parquet"):
        frame = _pandas().read_parquet(io.BytesIO(body))
        records: list[dict[str, Any]] = frame.to_dict("records")
        return records
    table = json.loads(body)
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def _run_column(run: Run, name: str) -> Any:
    kind, _, key = name.partition(".")
    if key and kind in ("params", "metrics", "tags"):
        return getattr(run.data, kind).get(key)
    if name in ("run_id", "run_name", "experiment_id", "status", "artifact_uri"):
        return str(getattr(run.info, name))
    if name in ("start_time", "end_time"):
        return getattr(run.info, name)
    raise InvalidParameter(
        f"No run has a column '{name}': use run_id, run_name, experiment_id, status, artifact_uri, "
        "start_time, end_time, params.<key>, metrics.<key> or tags.<key>."
    )
