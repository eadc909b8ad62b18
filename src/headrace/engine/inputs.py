"""Data sets and models that runs read and wrote, implemented."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.runs import RunOperations, RunRow
from headrace.entities import Dataset, DatasetInput
from headrace.errors import InvalidParameter
from headrace.protocol.experiments import DatasetSummaries, DatasetSummary, SearchDatasets
from headrace.protocol.limits import (
    MAX_DATASET,
    MAX_INPUT_TAG_KEY,
    MAX_INPUT_TAG_VALUE,
    check_model_id,
    check_run_id,
)
from headrace.protocol.operation import Empty
from headrace.protocol.runs import LogInputs, LogModel, LogOutputs

MODEL_HISTORY_TAG = "mlflow.log-model.history"
CONTEXT_TAG = "mlflow.data.context"

_MAX_EXPERIMENTS = 20
_MAX_SUMMARIES = 1000
_MODEL_FIELDS = ("artifact_path", "flavors", "utc_time_created", "run_id")


class InputOperations(RunOperations):
    """The parts of `Runs` and `Experiments` that are about data sets and models."""

    def log_inputs(self, request: LogInputs) -> Empty:
        check_run_id(request.run_id)
        for one in request.datasets:
            _check_dataset(one)
        for model in request.models:
            check_model_id(model.model_id)
        run = self._active_run(request.run_id)
        if request.datasets:
            self._log_datasets(run.id, run.uuid, run.experiment_id, request.datasets)
        if request.models:
            self._log_models(
                run,
                schema.MODEL_INPUT,
                {model.model_id: 0 for model in request.models},
            )
        return Empty()

    def log_outputs(self, request: LogOutputs) -> Empty:
        if not request.models:
            raise InvalidParameter(
                "Missing value for required parameter 'models': give at least one model."
            )
        for model in request.models:
            check_model_id(model.model_id)
        run = self._active_run(request.run_id)
        self._log_models(
            run,
            schema.MODEL_OUTPUT,
            {model.model_id: model.step for model in request.models},
        )
        return Empty()

    def log_model(self, request: LogModel) -> Empty:
        try:
            model = json.loads(request.model_json)
        except (ValueError, RecursionError) as error:
            raise InvalidParameter(
                f"'model_json' is not JSON: {error}. Give an MLmodel document as JSON text."
            ) from None
        missing = (
            list(_MODEL_FIELDS)
            if not isinstance(model, dict)
            else [field for field in _MODEL_FIELDS if field not in model]
        )
        if missing:
            raise InvalidParameter(
                f"'model_json' lacks {', '.join(missing)}; give a whole MLmodel document as a JSON object."
            )
        run = self._active_run(request.run_id, change=True)
        number = self.keys.number([MODEL_HISTORY_TAG])[MODEL_HISTORY_TAG]
        before = self.connection.execute(
            sa.select(schema.tag.c.value).where(
                schema.tag.c.run_id == run.id, schema.tag.c.key_id == number
            )
        ).scalar()
        try:
            history = json.loads(before) if before else []
        except ValueError:
            history = None
        if not isinstance(history, list):
            raise InvalidParameter(
                f"The tag '{MODEL_HISTORY_TAG}' of run '{run.uuid}' is not a JSON list; delete it first."
            )
        self._set_tags(run, {MODEL_HISTORY_TAG: json.dumps([*history, model])})
        return Empty()

    def search_datasets(self, request: SearchDatasets) -> DatasetSummaries:
        if not request.experiment_ids:
            raise InvalidParameter(
                "Missing value for required parameter 'experiment_ids': give at least one."
            )
        if len(request.experiment_ids) > _MAX_EXPERIMENTS:
            raise InvalidParameter(
                f"At most {_MAX_EXPERIMENTS} experiment ids can be given; "
                f"got {len(request.experiment_ids)}."
            )
        ids = [self._experiment(experiment_id).id for experiment_id in request.experiment_ids]
        table, link, run = schema.dataset, schema.run_dataset, schema.run
        rows = self.connection.execute(
            sa.select(table.c.experiment_id, table.c.name, table.c.digest, link.c.context)
            .join(link, link.c.dataset_id == table.c.id)
            .join(run, run.c.id == link.c.run_id)
            .where(table.c.experiment_id.in_(ids), run.c.deleted_time.is_(None))
            .distinct()
            .order_by(table.c.experiment_id, table.c.name, table.c.digest, link.c.context)
            .limit(_MAX_SUMMARIES)
        )
        return DatasetSummaries(
            dataset_summaries=tuple(
                DatasetSummary(
                    experiment_id=str(row.experiment_id),
                    name=row.name,
                    digest=row.digest,
                    context=row.context,
                )
                for row in rows
            )
        )

    def _log_datasets(
        self, run: int, run_uuid: str, experiment: int, inputs: Sequence[DatasetInput]
    ) -> None:
        table, link = schema.dataset, schema.run_dataset
        known: dict[tuple[str, str], Dataset] = {}
        for one in inputs:
            known.setdefault((one.dataset.name, one.dataset.digest), one.dataset)
        numbers: dict[tuple[str, str], int] = {}
        # Once is enough, unless a purge removes a data set that no other run had, right after the insert
        # found it. What is selected is held against that.
        while missing := sorted(known.keys() - numbers.keys()):
            self.connection.execute(
                self.insert(table).on_conflict_do_nothing(
                    index_elements=[table.c.experiment_id, table.c.name, table.c.digest]
                ),
                [{"experiment_id": experiment, **_columns(known[name])} for name in missing],
            )
            for name, digest in missing:
                number = self.connection.execute(
                    sa.select(table.c.id)
                    .where(
                        table.c.experiment_id == experiment,
                        table.c.name == name,
                        table.c.digest == digest,
                    )
                    .with_for_update(read=True, key_share=True)
                ).scalar()
                if number is not None:
                    numbers[name, digest] = number
        new = []
        for one in inputs:
            tags = {tag.key: tag.value for tag in one.tags}
            added = self.connection.execute(
                self.insert(link)
                .values(
                    run_id=run,
                    dataset_id=numbers[one.dataset.name, one.dataset.digest],
                    context=tags.get(CONTEXT_TAG),
                    tags=msgspec.json.encode(one.tags).decode(),
                )
                .on_conflict_do_nothing(index_elements=[link.c.run_id, link.c.dataset_id])
                .returning(link.c.dataset_id)
            ).scalar()
            if added is not None:
                new.append({"name": one.dataset.name, "digest": one.dataset.digest, "tags": tags})
        if new:
            self.emit("run.datasets.logged", f"run/{run_uuid}", {"datasets": new}, experiment)

    def _log_models(self, run: RunRow, direction: int, steps: dict[str, int]) -> None:
        table = schema.run_model
        statement = self.insert(table)
        changed = self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=[table.c.run_id, table.c.direction, table.c.model_id],
                set_={"step": statement.excluded.step},
                where=table.c.step != statement.excluded.step,
            ).returning(table.c.model_id),
            [
                {
                    "run_id": run.id,
                    "direction": direction,
                    "model_id": model_id,
                    "step": steps[model_id],
                }
                for model_id in sorted(steps)
            ],
        ).scalars()
        new = {model_id: steps[model_id] for model_id in changed}
        if not new:
            return
        word = "inputs" if direction == schema.MODEL_INPUT else "outputs"
        self.emit(f"run.model_{word}.logged", f"run/{run.uuid}", {"models": new}, run.experiment_id)


def _columns(dataset: Dataset) -> dict[str, str | None]:
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
    }


def _check_dataset(one: DatasetInput) -> None:
    for field in ("name", "digest", "source_type", "source"):
        if not getattr(one.dataset, field):
            raise InvalidParameter(f"Missing value for required parameter 'dataset.{field}'.")
    for field, most in MAX_DATASET.items():
        value = getattr(one.dataset, field)
        if value is not None and len(value) > most:
            raise InvalidParameter(
                f"The {field} of dataset '{one.dataset.name[:100]}' has {len(value)} characters; "
                f"at most {most} are allowed."
            )
    for tag in one.tags:
        if not tag.key or len(tag.key) > MAX_INPUT_TAG_KEY or len(tag.value) > MAX_INPUT_TAG_VALUE:
            raise InvalidParameter(
                f"Invalid input tag '{tag.key[:100]}' of dataset '{one.dataset.name[:100]}': the key must "
                f"have 1 to {MAX_INPUT_TAG_KEY} characters, the value at most {MAX_INPUT_TAG_VALUE}."
            )
