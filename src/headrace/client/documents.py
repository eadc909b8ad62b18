"""What a program holds in memory, as artifacts: text, dictionaries, figures, streams."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath
from typing import IO, Any

from headrace.client.files import FileCalls
from headrace.errors import InvalidParameter

_CHUNK = 1 << 20


class DocumentCalls(FileCalls):
    """Artifacts made on the spot. ``artifact_file`` is a path relative to the run's artifact root."""

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Write text, in UTF-8."""
        self._write(run_id, artifact_file, text.encode())

    def log_dict(self, run_id: str, dictionary: Any, artifact_file: str) -> None:
        """Write a dictionary or list: as YAML for ``.yml`` and ``.yaml``, else as JSON.

        Values that JSON cannot say are written as their text.
        """
        if PurePosixPath(artifact_file).suffix.lower() in (".yml", ".yaml"):
            import yaml  # lazily: most runs log none

            body = yaml.dump(dictionary, indent=2, default_flow_style=False, allow_unicode=True)
        else:
            body = json.dumps(dictionary, indent=2, default=str)
        self._write(run_id, artifact_file, body.encode())

    def log_stream(self, run_id: str, stream: IO[bytes], artifact_file: str) -> None:
        """Write what a binary stream yields, without holding it in memory."""
        store = self.artifacts_of(run_id)
        stat = store.write(artifact_file, iter(lambda: stream.read(_CHUNK), b""))
        self._stored(run_id, store, {artifact_file: stat.size})

    def log_figure(
        self,
        run_id: str,
        figure: Any,
        artifact_file: str,
        *,
        save_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Write a matplotlib or plotly figure in the format that the file's extension names.

        Args:
            run_id: The run.
            figure: ``matplotlib.figure.Figure`` or ``plotly.graph_objects.Figure``.
            artifact_file: E.g. ``plots/roc.png``; for plotly also ``.html``.
            save_kwargs: Passed to matplotlib's ``savefig``, or plotly's ``to_html`` or ``to_image``.

        Raises:
            InvalidParameter: Neither a matplotlib nor a plotly figure, or a file without extension.
        """
        suffix = PurePosixPath(artifact_file).suffix.lower().lstrip(".")
        options = dict(save_kwargs or {})
        if not suffix:
            raise InvalidParameter(
                f"'{artifact_file}' does not say which format the figure should have: "
                "give it an extension such as .png."
            )
        if hasattr(figure, "savefig"):
            buffer = io.BytesIO()
            figure.savefig(buffer, **{"format": suffix, **options})
            body = buffer.getvalue()
        elif hasattr(figure, "to_html") and hasattr(figure, "to_image"):
            if suffix in ("html", "htm"):
                body = figure.to_html(**{"include_plotlyjs": "cdn", **options}).encode()
            else:
                body = figure.to_image(**{"format": suffix, **options})
        else:
            raise InvalidParameter(
                f"Cannot log a {type(figure).__name__} as a figure: "
                "give a matplotlib.figure.Figure or a plotly.graph_objects.Figure."
            )
        self._write(run_id, artifact_file, body)
