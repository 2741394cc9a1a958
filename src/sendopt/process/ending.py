"""The end of a process of sendopt: with its exit code, without a stack trace, and without child processes left running.

Ctrl-C, SIGTERM and SIGHUP are raised in the main thread as `Stopped`, so that blocks clean up. If that takes too long
(compiled code that does not return), a thread ends the process.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

PATIENCE_SECONDS = 8.0  # time limit for blocks to clean up after a signal
CHILD_SECONDS = 4.0  # time limit for children to end after SIGTERM
_POLL_SECONDS = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_state: dict[str, int] = {}  # "signal": number of the signal that ends this process; "leaving": it is exiting


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""


def listen_early() -> None:
    """Call `listen` while modules still load, if this process is the command `sendopt` or one of `jobs/`."""
    program = Path(sys.argv[0])
    if program.name == "sendopt" or program.parent.name == "jobs":
        listen()


def listen() -> None:
    """Turn the signals that end a process into `Stopped`; a signal that was ignored from the start stays ignored."""
    if sys.excepthook is _last_word:
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)
    sys.excepthook = _last_word
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(read,), name="ending", daemon=True).start()


class Finish:
    """Ctrl-C as a request to finish early: after `listen`, the first sets `asked` and the second ends the process."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._before: Any = None

    def listen(self) -> None:
        """Take the next Ctrl-C as the request; do nothing if Ctrl-C is ignored or outside of the main thread."""
        if self._before is None and threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, self._on_interrupt)

    def end(self) -> None:
        """Let Ctrl-C end the process again."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.asked.is_set():
            _on_signal(number, frame)
        self.asked.set()


def stopped() -> tuple[str, int] | None:
    """Return the sentence and the exit code for the signal that stops this process; None if no signal stops it."""
    if "signal" not in _state:
        return None
    number = _state["signal"]
    who = "the keyboard" if number == signal.SIGINT else signal.Signals(number).name
    return f"stopped by {who}; finished stages are kept and every table is whole: run it again to go on", 128 + number


def leave(code: int) -> NoReturn:
    """Write the output, end the children, and end the process with this code without the interpreter's shutdown.

    Threads that libraries leave running can abort the shutdown after all work is done ("terminate called without an
    active exception", seen after a successful night). The exit code would then be that of a signal.
    """
    _state["leaving"] = 1
    _end_children()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _on_signal(number: int, _: FrameType | None) -> None:
    if _state:
        return  # the process is ending already
    _state["signal"] = number
    # Libraries report broken connections to the JVM, which ends too.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    raise Stopped


def _last_word(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the signal's sentence instead of a stack trace, for errors outside of a command's work (module loading)."""
    if stop_report := stopped():
        sentence, code = stop_report
        sys.stderr.write(f"sendopt: {sentence}\n")
        leave(code)
    sys.__excepthook__(kind, error, trace)


def _watch(read: int) -> None:
    """End the process PATIENCE_SECONDS after a signal, if the main thread has not ended it."""
    while "leaving" not in _state:
        if os.read(read, 1)[0] in _SIGNALS:
            time.sleep(PATIENCE_SECONDS)
            stop_report = None if "leaving" in _state else stopped()
            if stop_report:
                sentence, code = stop_report
                sys.stderr.write(f"sendopt: {sentence}\n")
                leave(code)


def _end_children() -> None:
    """End this process's children and their descendants: SIGTERM, then SIGKILL for those that are left."""
    children = _descendants(os.getpid())
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, number)
        deadline = time.monotonic() + CHILD_SECONDS
        while children and time.monotonic() < deadline:
            children = [child for child in children if _runs(child)]
            time.sleep(_POLL_SECONDS if children else 0)


def _descendants(parent: int) -> list[int]:
    """Return the ids of all descendants of `parent` by /proc; none without /proc (a JVM then ends by itself)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        if fields := _fields(stat):
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    descendants, queue = [], [parent]
    while queue:
        descendants += (of_process := children.get(queue.pop(), []))
        queue += of_process
    return descendants


def _runs(process: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(process, os.WNOHANG)  # reap a zombie of this process
    fields = _fields(Path(f"/proc/{process}/stat"))
    return bool(fields) and fields[0] not in ("Z", "X")


def _fields(stat: Path) -> list[str]:
    """Return the fields from the state on (state, parent, …) of a /proc stat line; empty if the process has ended."""
    try:
        return stat.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []
