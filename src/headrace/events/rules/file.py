"""The file of rules that a server is started with; read again when it changes."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import yaml

from headrace.engine import Engine
from headrace.errors import HeadraceError, InvalidParameter
from headrace.protocol.rule_check import parse_rules
from headrace.protocol.rule_spec import RuleSpec

_log = logging.getLogger(__name__)

#: Bytes of a file of rules.
_LARGEST = 10_000_000


def read_rules(path: Path) -> tuple[RuleSpec, ...]:
    """The rules of a YAML or JSON file.

    Raises:
        InvalidParameter: It cannot be read, is no YAML, or holds what is no rule.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidParameter(
                f"{path} has more than {_LARGEST} bytes: that is no file of rules."
            )
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise InvalidParameter(f"{path} cannot be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of dates, such as 2024-99-99
        raise InvalidParameter(f"{path} is no YAML: {' '.join(str(error).split())}.") from None
    try:
        found = parse_rules(document, str(path))
        msgspec.json.encode(found)
    except RecursionError:
        raise InvalidParameter(f"{path} has something that holds itself.") from None
    except UnicodeEncodeError:  # YAML may spell halves of characters: "\ud800"
        raise InvalidParameter(f"{path} has a text that is no Unicode.") from None
    return found


class _Loader(yaml.SafeLoader):
    """YAML without the words that mean something else: ``on`` is the text *on*, not true."""


# YAML 1.1 takes on, off, yes and no for booleans; set_tag has a field called "on".
_Loader.yaml_implicit_resolvers = {
    first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class RuleFile:
    """Keeps the store's rules of origin ``file`` those of the file. Not thread-safe."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._seen: tuple[int, int, int] | str = ""
        self._said = ""

    def look(self) -> bool:
        """Take the file's rules over if it changed; whether it did.

        A file that is broken changes nothing: the last good rules stay, and the log says why.
        """
        try:
            stat = self._path.stat()
            state: tuple[int, int, int] | str = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except OSError as error:
            state = str(error)
        if state == self._seen:
            return False
        self._seen = state
        try:
            specs = read_rules(self._path)
        except HeadraceError as error:
            return self._stay(error)
        try:
            changes = self._engine.change("sync_file_rules", specs)
        except HeadraceError as error:
            # It is tried again: the store may be away, or have a rule of that name until somebody deletes it.
            self._seen = ""
            return self._stay(error)
        self._said = ""
        _log.info("Rules of %s: %d, of which %d changed.", self._path, len(specs), changes)
        return True

    def _stay(self, error: HeadraceError) -> bool:
        if self._said != str(error):
            self._said = str(error)
            _log.error(
                "The rules of before stay, because of the rules in %s: %s", self._path, error
            )
        return False
