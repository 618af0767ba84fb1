"""What the training loop need not wait for: one thread that draws, encodes and writes, in order."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PIL import Image

MOST_WAITING = 8  # jobs; who hands over one more waits for the oldest
Job = Callable[[], str | None]  # may return words for the user


class Worker:
    """One worker thread. It lives from the first ``start`` to the next ``flush``; jobs run in the order in
    which they came.

    Jobs are added while a look is made, and started when it is over: meanwhile the thread would take Python's
    lock from the look's many small operations. Jobs must not depend on switches of all threads that a
    training may turn meanwhile, such as torch's default dtype.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._added: list[tuple[str, Job, bool]] = []
        self._waiting: deque[tuple[str, Future[str | None]]] = deque()
        self._ended: list[tuple[str, str | Exception | None]] = []

    def add(self, what: str, job: Job, here: bool = False) -> None:
        """Something to do at the next ``start``.

        Args:
            here: On the thread that starts it, for loggers that no other thread may use.
        """
        self._added.append((what, job, here))

    def start(self) -> None:
        """Lets the thread do what was added."""
        while self._added:
            what, job, here = self._added.pop(0)
            if here:
                try:
                    self._ended.append((what, job()))
                except Exception as error:  # noqa: BLE001 - told, as those of the thread are
                    self._ended.append((what, error))
                continue
            if self._thread is None:
                Image.init()  # imported here rather than in the thread, during which processes may be forked
                self._thread = ThreadPoolExecutor(1, "lightning_cam")
            while len(self._waiting) >= MOST_WAITING:
                self._await_oldest()
            self._waiting.append((what, self._thread.submit(job)))

    def ended(self) -> list[tuple[str, str | Exception | None]]:
        """Of each job that has ended since this was last asked: what it was, and what came of it."""
        while self._waiting and self._waiting[0][1].done():
            self._await_oldest()
        ended, self._ended = self._ended, []
        return ended

    def flush(self) -> None:
        """Waits until all is done, also what was only added, and ends the thread."""
        self.start()
        while self._waiting:
            self._await_oldest()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _await_oldest(self) -> None:
        what, job = self._waiting[0]
        error = job.exception()  # waits; left in line where the wait is interrupted
        if error is not None and not isinstance(error, Exception):
            raise error
        self._waiting.popleft()
        self._ended.append((what, job.result() if error is None else error))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a copy in another process has a thread of its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
