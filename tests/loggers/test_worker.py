"""One thread, in order, bounded; what fails is told, and nothing is lost at the end."""

import copy
import os
import pickle
import threading
import time

import pytest

from lightning_cam.loggers.worker import MOST_WAITING, Worker


def threads() -> int:
    return sum(thread.name.startswith("lightning_cam") for thread in threading.enumerate())


def test_jobs_run_in_order_on_another_thread() -> None:
    background, done = Worker(), []
    for number in range(40):

        def job(number: int = number) -> str:
            time.sleep(0.002 * (number % 3))
            done.append((number, threading.current_thread()))
            return f"done {number}"

        background.add(str(number), job)
        if number % 5 == 0:
            background.start()
    background.flush()
    assert [number for number, _ in done] == list(range(40))
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] is not threading.current_thread()
    assert background.ended() == [(str(number), f"done {number}") for number in range(40)]
    assert background.ended() == []
    assert threads() == 0


def test_nothing_runs_before_the_start() -> None:
    background, done = Worker(), []
    background.add("one", lambda: done.append(1))
    time.sleep(0.05)
    assert (done, threads()) == ([], 0)
    background.start()
    background.flush()
    assert done == [1]


def test_the_line_is_bounded() -> None:
    background, gate = Worker(), threading.Event()
    for number in range(MOST_WAITING + 1):
        background.add(str(number), lambda: str(gate.wait()))
    starting = threading.Thread(target=background.start)
    starting.start()
    starting.join(0.2)
    assert starting.is_alive(), "who hands over one more than may wait, waits"
    gate.set()
    starting.join(5)
    assert not starting.is_alive()
    background.flush()
    assert len(background.ended()) == MOST_WAITING + 1


def test_a_failure_is_told_and_the_next_job_runs() -> None:
    background = Worker()
    background.add("bad", lambda: 1 / 0)
    background.add("good", lambda: "good")
    background.flush()
    (bad, error), good = background.ended()
    assert bad == "bad"
    assert isinstance(error, ZeroDivisionError)
    assert good == ("good", "good")


def test_after_a_flush_it_serves_again() -> None:
    background, done = Worker(), []
    for _ in range(2):
        background.add("job", lambda: done.append(1))
        background.flush()
    background.flush()
    assert done == [1, 1]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])  # noqa: S301 - our own
def test_a_copy_has_a_thread_of_its_own(copied: object) -> None:
    background, gate, done = Worker(), threading.Event(), []
    background.add("job", lambda: str(gate.wait()))
    background.start()
    other = copied(background)
    other.add("job", lambda: done.append(1))
    other.flush()
    assert done == [1]
    gate.set()
    background.flush()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_forked_meanwhile_ends(recwarn: pytest.WarningsRecorder) -> None:
    background, gate = Worker(), threading.Event()
    background.add("job", lambda: str(gate.wait()))
    background.start()
    child = os.fork()
    if child == 0:
        os._exit(7)
    _, status = os.waitpid(child, 0)
    gate.set()
    background.flush()
    assert os.waitstatus_to_exitcode(status) == 7


def test_what_no_other_thread_may_do_is_done_here() -> None:
    background, done = Worker(), []
    background.add("here", lambda: done.append(threading.current_thread()), here=True)
    background.add("bad", lambda: 1 / 0, here=True)
    assert done == []
    background.start()
    assert done == [threading.current_thread()]
    assert [type(came) for _, came in background.ended()] == [type(None), ZeroDivisionError]
    assert threads() == 0
