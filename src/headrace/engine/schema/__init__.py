"""The tables, for SQLite and PostgreSQL.

Integer keys inside, MLflow's ids outside. Param, tag and metric names are kept once, in ``key``, and
referred to by number: at a million runs the names would otherwise be most of the database.

Times are milliseconds since the Unix epoch. A thing is in the trash when ``deleted_time`` is set; a
run is also in the trash while its experiment is, which no column says twice.
"""

from headrace.engine.schema.base import *  # noqa: F403
from headrace.engine.schema.registry import *  # noqa: F403
from headrace.engine.schema.telling import *  # noqa: F403
from headrace.engine.schema.tracking import *  # noqa: F403
