"""Searches of registered models and of versions, implemented.

A page is one statement along an index, and then one statement per table for what its rows have; the
number of models and versions hardly matters. Prompts are models with the tag `PROMPT_TAG`, which a search shows
only when its filter asks for it, as in MLflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from headrace.engine import schema
from headrace.engine.registry.assemble import model_entities, model_names, version_entities
from headrace.engine.registry.base import RegistryBase
from headrace.engine.registry.limits import stage_number
from headrace.engine.search import vocabulary
from headrace.engine.search.compile import Condition, Conditions, Expression
from headrace.engine.search.ordering import text_order
from headrace.engine.search.paging import Term, after, digest, keys_of, read_token, write_token
from headrace.engine.search.parse import parse_filter, parse_order
from headrace.engine.search.selection import columns, ordered
from headrace.engine.search.tree import (
    Comparison,
    Field,
    Kind,
    Node,
    Operator,
    Order,
    conjuncts,
)
from headrace.errors import InvalidParameter
from headrace.protocol import model_versions, registered_models
from headrace.protocol.model_versions import (
    STAGES,
    ModelVersions,
    ModelVersionsPage,
    SearchModelVersions,
)
from headrace.protocol.registered_models import (
    PROMPT_TAG,
    RegisteredModels,
    RegisteredModelsPage,
    SearchRegisteredModels,
)

_model = schema.registered_model
_version = schema.model_version
_ONE: Expression = sa.literal_column("1")
_NAME = Field(Kind.ATTRIBUTE, "name")
_PROMPT = Field(Kind.TAG, PROMPT_TAG)
_MODEL_COLUMNS = {
    "name": _model.c.name,
    "description": _model.c.description,
    "creation_timestamp": _model.c.creation_time,
    "last_updated_timestamp": _model.c.last_update_time,
}
_VERSION_COLUMNS = {
    "name": _model.c.name,
    "version_number": _version.c.version,
    "run_id": _version.c.run_uuid,
    "source_path": _version.c.source,
    "model_id": _version.c.logged_model_id,
    "digest": _version.c.digest,
    "current_stage": _version.c.stage,
    "description": _version.c.description,
    "user_id": _version.c.user_id,
    "creation_timestamp": _version.c.creation_time,
    "last_updated_timestamp": _version.c.last_update_time,
}


class RegistrySearch(RegistryBase, RegisteredModels, ModelVersions):
    """The searches of `RegisteredModels` and `ModelVersions`."""

    def search_registered_models(self, request: SearchRegisteredModels) -> RegisteredModelsPage:
        limit = request.max_results
        _check_max_results(limit, 0, registered_models.MAX_PAGE)
        names = vocabulary.REGISTERED_MODELS
        orders = parse_order(request.order_by, names)
        terms = _terms(orders, _MODEL_COLUMNS, [("name", True)], postgres=self._postgres)
        conditions = _ModelConditions(postgres=self._postgres)
        where = _where(parse_filter(request.filter, names), conditions, _models_prompt())
        search = digest("registered models", request.filter, request.order_by)
        start = read_token(request.page_token, search, terms)
        # The workspace, because the index on names begins with it.
        statement = sa.select(_model, *columns(terms)).where(
            _model.c.workspace == "default", *where
        )
        rows = self._registry_page(statement, terms, start, limit)
        return RegisteredModelsPage(
            registered_models=tuple(model_entities(self, rows[:limit])),
            next_page_token=_next_token(search, rows, limit, len(terms)),
        )

    def search_model_versions(self, request: SearchModelVersions) -> ModelVersionsPage:
        limit = request.max_results
        _check_max_results(limit, 1, model_versions.MAX_PAGE)
        names = vocabulary.MODEL_VERSIONS
        orders = parse_order(request.order_by, names)
        rest = [("name", True), ("version_number", False)]
        if not orders:
            rest.insert(0, ("last_updated_timestamp", False))
        terms = _terms(orders, _VERSION_COLUMNS, rest, postgres=self._postgres)
        conditions = _VersionConditions(postgres=self._postgres)
        prompt = sa.or_(conditions.tagged(_PROMPT, Operator.EQ, "true"), _models_prompt())
        node = parse_filter(request.filter, names)
        where = [*self._of_models(node), *_where(node, conditions, prompt)]
        search = digest("model versions", request.filter, request.order_by)
        start = read_token(request.page_token, search, terms)
        statement = (
            sa.select(_version, *columns(terms))
            .join(_model, _model.c.id == _version.c.model_id)
            .where(*where)
        )
        rows = self._registry_page(statement, terms, start, limit)
        called = model_names(self, {row.model_id for row in rows[:limit]})
        return ModelVersionsPage(
            model_versions=tuple(version_entities(self, rows[:limit], called)),
            next_page_token=_next_token(search, rows, limit, len(terms)),
        )

    def _of_models(self, node: Node | None) -> list[Condition]:
        """The models that a filter of versions names, by their ids: SQLite, which has no statistics, would
        look through all versions in the order asked for."""
        found: list[Condition] = []
        for part in conjuncts(node):
            if isinstance(part, Comparison) and part.field == _NAME:
                if part.operator is Operator.EQ:
                    names: Any = [part.value]
                elif part.operator is Operator.IN:
                    names = part.value
                else:
                    continue
                ids = self.connection.execute(
                    sa.select(_model.c.id).where(
                        _model.c.workspace == "default", _model.c.name.in_(names)
                    )
                ).scalars()
                found.append(_version.c.model_id.in_(list(ids)))
        return found

    @property
    def _postgres(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    def _registry_page(
        self, statement: Any, terms: Sequence[Term], start: Any, limit: int
    ) -> list[Any]:
        """One row more than the page has, if there are more."""
        if not limit:
            return []
        if start is not None:
            statement = statement.where(after(terms, start))
        return list(self.connection.execute(ordered(statement, terms).limit(limit + 1)).all())


class _Tagged(Conditions):
    """Filters of what has attributes and tags."""

    attributes: dict[str, Any]
    tags: sa.Table
    #: The column of the tags' table that names the owner, and the owner's.
    link: tuple[Expression, Expression]

    def comparison(self, comparison: Comparison) -> Condition:
        field = comparison.field
        if field.kind is Kind.ATTRIBUTE:
            column = self.attributes[field.key]
            return self.test(column, comparison, nullable=column.nullable)
        found = self.tagged(field, comparison.operator, comparison.value)
        return sa.not_(found) if comparison.operator is Operator.IS_NULL else found

    def tagged(self, field: Field, operator: Operator, value: Any) -> Condition:
        """Has a tag, and its value compares."""
        mine, theirs = self.link
        tests = [] if value is None else [self._tested(self.tags.c.value, operator, value)]
        return (
            sa.select(_ONE)
            .select_from(self.tags)
            .where(mine == theirs, self.tags.c.key == field.key, *tests)
            .correlate(theirs.table)
            .exists()
        )


class _ModelConditions(_Tagged):
    """Filters over ``registered_model``."""

    attributes = _MODEL_COLUMNS
    tags = schema.registered_model_tag
    link = (schema.registered_model_tag.c.model_id, _model.c.id)


class _VersionConditions(_Tagged):
    """Filters over ``model_version`` joined with its model."""

    attributes = _VERSION_COLUMNS
    tags = schema.model_version_tag
    link = (schema.model_version_tag.c.version_id, _version.c.id)

    def comparison(self, comparison: Comparison) -> Condition:
        if comparison.field == Field(Kind.ATTRIBUTE, "current_stage"):
            # The words, so that patterns work too.
            words = sa.case(dict(enumerate(STAGES)), value=_version.c.stage)
            if isinstance(comparison.value, str) and comparison.operator is Operator.EQ:
                return _version.c.stage == stage_number(comparison.value)
            return self.test(words, comparison)
        return super().comparison(comparison)


def _models_prompt() -> Condition:
    """True for models that are prompts."""
    return _ModelConditions(postgres=False).tagged(_PROMPT, Operator.EQ, "true")


def _where(node: Node | None, conditions: Conditions, prompt: Condition) -> list[Condition]:
    """The conditions of a filter, and whether prompts are seen.

    The first comparison of the prompt tag decides, as in MLflow: it asks for prompts, or it and all others of that
    tag are nothing but a way to say that there shall be none. One below OR or NOT is compared like any other tag.
    """
    parts = conjuncts(node)
    about = [part for part in parts if isinstance(part, Comparison) and part.field == _PROMPT]
    if about and _asks_for_prompts(about[0]):
        return [conditions.condition(part) for part in parts]
    found = [conditions.condition(part) for part in parts if part not in about]
    if about or node is None or not _names_prompts(node):
        found.append(sa.not_(prompt))
    return found


def _names_prompts(node: Node) -> bool:
    if isinstance(node, Comparison):
        return node.field == _PROMPT
    items = node.items if hasattr(node, "items") else (node.item,)
    return any(_names_prompts(item) for item in items)


def _asks_for_prompts(comparison: Comparison) -> bool:
    value = str(comparison.value).lower()
    return (comparison.operator, value) in ((Operator.EQ, "true"), (Operator.NE, "false"))


def _terms(
    orders: Sequence[Order],
    known: dict[str, Any],
    rest: Sequence[tuple[str, bool]],
    *,
    postgres: bool,
) -> tuple[Term, ...]:
    """The order as asked, and then what tells rows apart."""
    asked = [(order.field.key, order.ascending) for order in orders]
    seen = {key for key, _ascending in asked}
    terms = []
    for key, ascending in (*asked, *(one for one in rest if one[0] not in seen)):
        column = known[key]
        if isinstance(column.type, sa.String):
            terms.append(Term(str, ascending, text_order(column, postgres)))
        else:
            terms.append(Term(int, ascending, column))
    return tuple(terms)


def _next_token(search: str, rows: Sequence[Any], limit: int, terms: int) -> str:
    if not limit or len(rows) <= limit:
        return ""
    return write_token(search, keys_of(rows[limit - 1], terms))


def _check_max_results(count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise InvalidParameter(
            f"Invalid value {count} for request parameter max_results: it must be at least {least} and at "
            f"most {most}."
        )
