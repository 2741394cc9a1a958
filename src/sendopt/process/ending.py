"""How a process of sendopt ends: with its own code, without a trace on the terminal, and with no process left behind.

Ctrl-C, SIGTERM and SIGHUP are raised in the main thread as `Stopped`, so that blocks clean up. Where that takes too
long (compiled code that does not come back), a thread ends the process.
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

PATIENCE_SECONDS = 8.0  # that blocks have to clean up after a signal
CHILD_SECONDS = 4.0  # that children have to end after SIGTERM
_POLL_SECONDS = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_state: dict[str, int] = {}


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""


def listen_early() -> None:
    """Listen while modules still load, where this process is the command `sendopt` or one of `jobs/`."""
    program = Path(sys.argv[0])
    if program.name == "sendopt" or program.parent.name == "jobs":
        listen()


def listen() -> None:
    """Turn the signals that end a process into `Stopped`; one that was ignored from the start stays ignored."""
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
    """Ctrl-C as a wish to finish early: from `listen` on the first one sets `asked`, the second ends the process."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._before: Any = None

    def listen(self) -> None:
        """Take the next Ctrl-C for the wish; nothing where it is ignored, or outside of the main thread."""
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
    """The sentence and the exit code of the signal that stops this process; None while none does."""
    if "signal" not in _state:
        return None
    number = _state["signal"]
    who = "the keyboard" if number == signal.SIGINT else signal.Signals(number).name
    return f"stopped by {who}; finished stages are kept and every table is whole: run it again to go on", 128 + number


def leave(code: int) -> NoReturn:
    """End the process with this code, its output written and its children ended, without the interpreter's own end.

    Threads that libraries leave behind can abort that end when all work is done ("terminate called without an active
    exception", seen after a night that had ended well), and the code would be a signal's.
    """
    _state["leaving"] = 1
    _end_children()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _on_signal(number: int, _: FrameType | None) -> None:
    if _state:
        return  # it ends already
    _state["signal"] = number
    # What libraries say of broken connections to a JVM that ends is no news.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    raise Stopped


def _last_word(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a signal breaks outside of a command's work, as while modules load, is the signal's sentence too."""
    if ended := stopped():
        sys.stderr.write(f"sendopt: {ended[0]}\n")
        leave(ended[1])
    sys.__excepthook__(kind, error, trace)


def _watch(read: int) -> None:
    """End the process where the main thread has not, PATIENCE_SECONDS after a signal."""
    while "leaving" not in _state:
        if os.read(read, 1)[0] in _SIGNALS:
            time.sleep(PATIENCE_SECONDS)
            ending = None if "leaving" in _state else stopped()
            if ending:
                sys.stderr.write(f"sendopt: {ending[0]}\n")
                leave(ending[1])


def _end_children() -> None:
    """End what this process started and all that came of it: SIGTERM, then SIGKILL for what is left."""
    children = _descendants(os.getpid())
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in children:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, number)
        until = time.monotonic() + CHILD_SECONDS
        while children and time.monotonic() < until:
            children = [child for child in children if _runs(child)]
            time.sleep(_POLL_SECONDS if children else 0)


def _descendants(parent: int) -> list[int]:
    """Process ids below `parent`, as /proc says them; none where there is no /proc (a JVM then ends by itself)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        if fields := _fields(stat):
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    below, open_ = [], [parent]
    while open_:
        below += (more := children.get(open_.pop(), []))
        open_ += more
    return below


def _runs(process: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(process, os.WNOHANG)  # a zombie of ours would stay
    fields = _fields(Path(f"/proc/{process}/stat"))
    return bool(fields) and fields[0] not in ("Z", "X")


def _fields(stat: Path) -> list[str]:
    """State, parent and the rest of a line of /proc; empty where the process is gone."""
    try:
        return stat.read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []
