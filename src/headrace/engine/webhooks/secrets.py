"""Secrets at rest: encrypted with Fernet (https://github.com/fernet/spec), opened only to be used.

The key is ``HEADRACE_SECRETS_KEY``, else ``MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY``: one Fernet key, or several
between commas. The first encrypts, all are tried to decrypt, so a key is changed by putting the new one
before the old. A SQLite store without one has its key in a file beside the database, made when the first
secret is kept; where that file is, it opens what it encrypted also after a variable was set.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.engine.database import Database
from headrace.errors import InvalidState

if TYPE_CHECKING:  # imported when there is a secret: it takes longer than opening a store
    from cryptography.fernet import Fernet, MultiFernet

_VARIABLES = ("HEADRACE_SECRETS_KEY", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY")
_ADVICE = (
    'Make a key with `python -c "from cryptography.fernet import Fernet; '
    'print(Fernet.generate_key().decode())"` and give it to every server of this store as HEADRACE_SECRETS_KEY.'
)


class Secrets:
    """Encrypts and decrypts for one store. Thread-safe."""

    def __init__(self, database: Database) -> None:
        """For a database; no key is read, or made, before it is needed."""
        path = database.url.database if database.is_sqlite else None
        self._file = Path(f"{path}-secrets.key") if path else None
        self._lock = threading.Lock()
        self._keys: MultiFernet | None = None

    def seal(self, text: str) -> str:
        """A text, encrypted.

        Raises:
            InvalidState: There is no key, or one that is none.
        """
        return self._fernet(make=True).encrypt(text.encode()).decode()

    def open(self, token: str) -> str:
        """What was sealed.

        Raises:
            InvalidState: There is no key, or none that it was encrypted with.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet(make=False).decrypt(token).decode()
        except InvalidToken:
            raise InvalidState(
                "A secret cannot be decrypted: it was encrypted with another key than this server has. "
                f"Give the old key too, after a comma, in {_VARIABLES[0]}, or set the secret again."
            ) from None

    def _fernet(self, *, make: bool) -> MultiFernet:
        with self._lock:
            if self._keys is None:
                keys = [*_from_environment(), *self._from_file(make)]
                if not keys:
                    raise InvalidState(f"This store has no key to keep secrets with. {_ADVICE}")
                from cryptography.fernet import MultiFernet

                self._keys = MultiFernet(keys)
            return self._keys

    def _from_file(self, make: bool) -> list[Fernet]:
        from cryptography.fernet import Fernet

        file = self._file
        if file is None:
            return []
        if not file.exists():
            if not make or any(map(os.environ.get, _VARIABLES)):
                return []
            _write_once(file, Fernet.generate_key())
        try:
            return [Fernet(file.read_bytes().strip())]
        except (OSError, ValueError) as error:
            raise InvalidState(
                f"The key of this store's secrets cannot be read from {file}: {error}. Restore the file, or remove "
                "it and set the secrets of all webhooks again."
            ) from None


def _from_environment() -> list[Fernet]:
    name = next((name for name in _VARIABLES if os.environ.get(name)), None)
    if name is None:
        return []
    from cryptography.fernet import Fernet

    try:
        return [Fernet(key.strip()) for key in os.environ[name].split(",") if key.strip()]
    except ValueError:  # it must not be shown
        raise InvalidState(
            f"{name} holds no Fernet key, which is 32 bytes in URL-safe base64. {_ADVICE}"
        ) from None


def _write_once(file: Path, content: bytes) -> None:
    """Make a file that only its owner reads, whole or not at all; who comes second leaves the first's."""
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink()
