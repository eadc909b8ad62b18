"""Asks the git program about a working tree, without a trace in the repository.

A repository's own configuration is not trusted: nothing that it names is run (file system monitor,
hooks, external diffs, text conversions, filters), its ``core.worktree`` does not lead elsewhere, and
git neither fetches nor writes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping

import msgspec

from headrace.tracking.capture.repository import Repository

#: Seconds that one call of git may take.
TIMEOUT = 10.0

_READ = 256 << 10
_FILTER = re.compile(r"filter\.(.*)\.(?:clean|smudge|process|required)", re.DOTALL)
#: The user's own settings for git stay; where a hook's repository is does not.
_KEPT = ("GIT_CONFIG_", "GIT_EXEC_PATH")


class GitFailed(Exception):
    """Git is missing, said no, or took too long; the message says which."""


class Answer(msgspec.Struct, frozen=True):
    """What git wrote; ``whole`` is false when it was stopped at a limit."""

    data: bytes
    whole: bool


class Git:
    """The git program, for one working tree."""

    def __init__(self, repository: Repository, environment: Mapping[str, str], limit: int) -> None:
        """Find git, and ask it for the filters of the repository, which are not run.

        Args:
            repository: Where.
            environment: Of this process.
            limit: Bytes; a longer file is like a binary one to git, which does not compare it then.

        Raises:
            GitFailed: There is no git, or one older than 2.26.
        """
        program = shutil.which("git", path=environment.get("PATH"))
        if program is None:
            raise GitFailed("the git program was not found")
        self._environment = {
            name: value
            for name, value in environment.items()
            if not name.startswith("GIT_") or name.startswith(_KEPT)
        } | {
            "LC_ALL": "C",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
            # A part of the history that was not cloned is not fetched now.
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
        }
        settings = (
            "core.fsmonitor=false",
            f"core.hooksPath={os.devnull}",
            f"core.bigFileThreshold={max(limit, 1)}",
            "core.safecrlf=false",
            "core.quotePath=false",
            # `git diff` would write what it learned into the index, whatever GIT_OPTIONAL_LOCKS says.
            "diff.autoRefreshIndex=false",
        )
        self._command = [
            program,
            "--no-pager",
            # Said in full, so that core.worktree of the repository does not say it.
            f"--git-dir={repository.git}",
            f"--work-tree={repository.root}",
        ]
        for one in settings:
            self._command += ("-c", one)
        self._folder = repository.root
        self._distrust()

    def _distrust(self) -> None:
        """Switch off the filters that the repository itself configures; those of the user's own
        configuration, such as git-lfs, go on."""
        listed = self.run(["config", "-z", "--list", "--show-scope"], 4 << 20).data
        parts = listed.decode("utf-8", "surrogateescape").split("\0")
        names = set()
        for scope, setting in zip(parts[::2], parts[1::2], strict=False):
            found = _FILTER.fullmatch(setting.partition("\n")[0])
            if found and scope in ("local", "worktree"):
                names.add(found[1])
        for name in sorted(names):
            if "=" in name:
                raise GitFailed(f"the repository has a filter of a strange name: {name[:40]!r}")
            for key, value in (
                ("clean", ""),
                ("smudge", ""),
                ("process", ""),
                ("required", "false"),
            ):
                self._command += ("-c", f"filter.{name}.{key}={value}")

    def run(self, arguments: list[str], limit: int) -> Answer:
        """What git writes on its standard output, at most ``limit`` bytes of it.

        Raises:
            GitFailed: It took longer than `TIMEOUT`, or ended with an error.
        """
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*self._command, *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,  # to be stopped with what it started, and not by Ctrl-C
            )
            late = threading.Event()

            def stop() -> None:
                late.set()
                _stop(process)

            timer = threading.Timer(TIMEOUT, stop)
            timer.daemon = True
            timer.start()
            try:
                data, whole = self._drain(process, limit)
            finally:
                timer.cancel()
                if process.returncode is None:
                    _stop(process)
                    process.wait()
            if late.is_set():
                raise GitFailed(f"git {arguments[0]} took longer than {TIMEOUT:.0f} seconds")
            if whole and process.returncode != 0:
                errors.seek(0)
                lines = errors.read(2000).decode(errors="replace").strip().splitlines()
                said = lines[0] if lines else f"it ended with {process.returncode}"
                raise GitFailed(f"git {arguments[0]}: {said}")
        return Answer(data, whole)

    def _drain(self, process: subprocess.Popen[bytes], limit: int) -> tuple[bytes, bool]:
        assert process.stdout is not None
        parts: list[bytes] = []
        size = 0
        with process.stdout as stream:
            while size <= limit:
                part = stream.read(_READ)
                if not part:
                    process.wait()
                    return b"".join(parts), True
                parts.append(part)
                size += len(part)
        return b"".join(parts)[:limit], False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill git and what it started: a filter, say, that would keep the pipe open."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
