"""Real processes to be killed, starved or watched, forked from one that has torch loaded already.

Each runs the library's own code in a folder of its own, so that a try costs no start of torch.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from process_server import SERVER

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Of each of these the first argument, and of a renaming the second too, is a path that changes.
_CHANGES = {"os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.truncate", "os.utime"}
_NAMES_TWO = {"os.rename", "os.link", "os.symlink"}
_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit status; minus the signal's number where it was killed.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
    """

    code: int
    out: str
    err: str


@dataclass
class Running:
    """A process that is under way.

    Attributes:
        process: to be waited for, or killed.
        streams: what it writes to stdout and to stderr can be read here.
    """

    process: Any
    streams: tuple[Connection, Connection]

    def ended(self, within: float | None = None) -> Ended | None:
        """How it ended, or None where it is still running after so many seconds."""
        self.process.join(within)
        if self.process.exitcode is None:
            return None
        out, err = (_text(stream) for stream in self.streams)
        return Ended(self.process.exitcode, out, err)

    def kill(self) -> Ended:
        """Kill it with SIGKILL, if it still runs."""
        self.process.kill()
        ended = self.ended()
        assert ended is not None
        return ended


@dataclass(frozen=True)
class Workplace:
    """Where the processes of one test run.

    Attributes:
        folder: their working folder.
    """

    folder: Path

    def begin(self, task: Callable[[], object], *preparations: Callable[[], object]) -> Running:
        """Start ``task`` in the folder, after the preparations; its value is the exit status."""
        # A pipe takes words even where every file is full.
        (out, its_out), (err, its_err) = (SERVER.Pipe(duplex=False) for _ in range(2))
        streams = (its_out, its_err)
        process = SERVER.Process(target=_live, args=(self.folder, streams, task, preparations))
        process.start()
        for stream in streams:
            stream.close()
        return Running(process, (out, err))

    def do(self, task: Callable[[], object], *preparations: Callable[[], object]) -> Ended:
        """Run ``task`` to its end."""
        ended = self.begin(task, *preparations).ended()
        assert ended is not None
        return ended

    def command(self, *words: object) -> Callable[[], object]:
        """The task of one command, as ``python -m geobasin`` runs it."""
        return partial(_command, [str(word) for word in words])


def _live(
    folder: Path,
    streams: tuple[Connection, Connection],
    task: Callable[[], object],
    preparations: tuple[Callable[[], object], ...],
) -> None:
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
    os.chdir(folder)
    one_thread()
    for prepare in preparations:
        prepare()
    code = task()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code if isinstance(code, int) else 0)


def _text(stream: Connection) -> str:
    with stream, os.fdopen(os.dup(stream.fileno()), "rb") as file:
        return file.read().decode(errors="replace")


def _command(words: list[str]) -> int:
    from geobasin.__main__ import main

    return main(words)


def one_thread() -> None:
    """Compute with one thread, so that runs can be compared bit by bit."""
    threads(1)


def threads(count: int) -> None:
    """Compute with so many threads."""
    import torch

    torch.set_num_threads(count)


def largest_file(size: int, signalled: bool = False) -> None:
    """Let the kernel refuse every write past so many bytes of a file, or kill for it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if signalled else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def nobody() -> None:
    """Give up the right to write everywhere."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def die_at_change(folder: Path, number: int) -> None:
    """Die of SIGKILL just before the numbered change of a file below the folder, from 1."""
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if any(path.is_relative_to(folder) for path in changed(event, arguments)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def count_changes(folder: Path, file: Path) -> None:
    """Append a byte to ``file`` for every change of a file below the folder."""
    counter = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if any(path.is_relative_to(folder) for path in changed(event, arguments)):
            os.write(counter, b".")

    sys.addaudithook(hook)


def watch(folder: Path, file: Path) -> None:
    """Note in ``file`` every write outside the folder, every connection and every unpickling."""
    notes = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for path in ("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        os.environ[path] = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        outside = [path for path in changed(event, arguments) if not path.is_relative_to(folder)]
        for path in outside:
            if path != Path(os.devnull):
                os.write(notes, f"{event} {path}\n".encode(errors="replace"))
        if event in _NETWORK or event == "pickle.find_class":
            os.write(notes, f"{event} {arguments[1:]}\n".encode(errors="replace"))

    sys.addaudithook(hook)


def changed(event: str, arguments: tuple[Any, ...]) -> list[Path]:
    """The paths that an audited event is about to change, links in them resolved."""
    if event == "open":
        path, _, flags = arguments
        named = [path] if isinstance(flags, int) and flags & _WRITES else []
    elif event in _CHANGES:
        named = [arguments[0]]
    elif event in _NAMES_TWO:
        named = [arguments[0], arguments[1]]
    else:
        named = []
    return [_real(path) for path in named if isinstance(path, str | bytes | os.PathLike)]


def _real(path: str | bytes | os.PathLike[str]) -> Path:
    whole = Path(os.fsdecode(path))
    return whole.parent.resolve() / whole.name
