"""Forked children: what they do is theirs, what their parent was doing is the parent's alone."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system doesn't fork")

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

START = """
import asyncio, contextlib, logging, multiprocessing, os, signal, sqlite3, sys, threading, warnings
from fastapi_taskflow import *

warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: fork with threads
parent = os.getpid()
how = sys.argv[1]

def rows(query):
    with contextlib.closing(sqlite3.connect("tasks.db")) as connection:
        return connection.execute(query).fetchall()

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

class Waiting:
    '''A task of the parent's that runs until it is let go.'''
    def __init__(self, manager, text="at work"):
        self.ready, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=manager.run, args=(self.body, text))
        self.thread.start()
        self.ready.wait()
    def body(self, text):
        task_log(text)
        self.ready.set()
        self.go.wait()
    def end(self):
        self.go.set()
        self.thread.join()

class Writing(TaskObserver):
    '''Writes, by one call, who is told of what.'''
    def say(self, text):
        who = "parent" if os.getpid() == parent else "child"
        os.write(1, f"{who} {text}\\n".encode())
    async def on_log(self, event):
        self.say(event.message)
    async def on_lifecycle(self, event):
        self.say(event.status.value)
    async def startup(self):
        self.say("startup")
    async def close(self):
        self.say("close")
"""


def _lines(run_python: RunPython, program: str, *arguments: str) -> list[str]:
    """What the program prints; it says nothing on standard error, and ends well, in time."""
    done = run_python(START + program, *arguments, timeout=50.0)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


IDLE_CHILD = """
from fastapi_taskflow import engine, lifespan

engine.STORE_SECONDS = lifespan.EXIT_SECONDS = 600.0  # who waits for anything is too late
database = {"snapshot_db": "tasks.db"} if how == "database" else {}
os.chdir(sys.argv[2])
manager = TaskManager(loggers=[Writing(), FileLogger("tasks.log", log_lifecycle=True)], **database)
waiting = Waiting(manager)
child = os.fork()
if not child:
    sys.exit(5)
print(ended(child), flush=True)
if database:
    print(rows("SELECT status FROM taskflow_tasks"), flush=True)
    print(rows("SELECT count(*) FROM taskflow_owners"), flush=True)
waiting.end()
"""


@pytest.mark.parametrize("store", ["memory", "database"])
def test_a_child_that_exits_says_nothing_of_its_parents_tasks(
    run_python: RunPython, tmp_path: Path, store: str
) -> None:
    lines = _lines(run_python, IDLE_CHILD, store, str(tmp_path))

    seen = ["[('running',)]", "[(1,)]"] if store == "database" else []
    told = [line for line in lines if line.startswith("parent")]
    assert [line for line in lines if line not in told] == ["5", *seen]
    assert told == [f"parent {what}" for what in ("startup", "running", "at work", "success")] + [
        "parent close"
    ]
    log = (tmp_path / "tasks.log").read_text()
    assert [line.split(" ", 3)[3] for line in log.splitlines()] == [
        "-- RUNNING",
        "at work",
        "-- SUCCESS",
    ]


BUSY_PARENT = """
os.chdir(sys.argv[2])
observers = [InMemoryLogger(capacity=10), FileLogger("a.log", queued=how == "queued", max_bytes=0,
                                                     log_lifecycle=True)]
manager = TaskManager(loggers=observers, redact=["secret"], capture_loggers=["app"])
stopped = threading.Event()

def chatty():
    while not stopped.is_set():
        task_log("noise")

def short():
    task_log("noise")

def busy():
    while not stopped.is_set():
        manager.run(short)

def own(name):
    for number in range(20):
        task_log(f"own {name} {number}")
        logging.getLogger("app").warning("captured")

threads = [threading.Thread(target=manager.run, args=(chatty,))]
threads += [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
statuses = []
for name in range(16):
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(15)  # one that hangs is killed by it
        if name % 2:
            sys.exit(0 if manager.run(own, name).status.value == "success" else 1)
        sys.exit(0)
    statuses.append(ended(child))
stopped.set()
for thread in threads:
    thread.join()
print(statuses)
"""


@pytest.mark.parametrize("how", ["queued", "direct"])
def test_children_of_a_busy_parent_run_tasks_and_end(
    run_python: RunPython, tmp_path: Path, how: str
) -> None:
    lines = _lines(run_python, BUSY_PARENT, how, str(tmp_path))

    assert lines == [str([0] * 16)]
    text = (tmp_path / "a.log").read_text()
    own = Counter(re.findall(r" own (\d+ \d+)$", text, re.MULTILINE))
    assert own == Counter(f"{name} {number}" for name in range(1, 16, 2) for number in range(20))
    assert "INTERRUPTED" not in text


HELD = """
manager = TaskManager(snapshot_db=sys.argv[2], redact=(filter := RedactFilter()))
manager.run(task_log, "the first line opens everything")
store, engine, redactor = manager.store, manager.engine, filter.redactor
held, done = threading.Event(), threading.Event()

def hold():
    with eval(how):
        held.set()
        done.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(20)
    redactor.register("hunter2")
    sys.exit(0 if manager.run(task_log, "hunter2").logs[0].endswith(" [redacted]") else 1)
print(ended(child))
done.set()
"""


@pytest.mark.parametrize(
    "lock",
    [
        "engine._guard",
        "engine._active._guard",
        "redactor._guard",
        "store._turn",
        "store._memory._lock",
        "store._writer._lock",
    ],
)
def test_a_lock_that_is_held_at_the_fork_holds_up_no_child(
    run_python: RunPython, tmp_path: Path, lock: str
) -> None:
    assert _lines(run_python, HELD, lock, str(tmp_path / "tasks.db")) == ["0"]


SENDING = """
entered, go = threading.Event(), threading.Event()

def slow(record):
    if record.getMessage() == "slow":
        entered.set()
        go.wait()
    return True

observer = StdoutLogger()
observer.handler.addFilter(slow)
manager = TaskManager(loggers=[observer])

def body():
    thread = threading.Thread(target=bind_task_context(lambda: task_log("slow")))
    thread.start()
    entered.wait()
    child = os.fork()
    if not child:
        signal.alarm(20)
        task_log("in the child")
        os._exit(0)
    print(ended(child), flush=True)
    go.set()
    thread.join()

manager.run(body)
"""


def test_a_child_logs_for_the_task_of_which_another_thread_was_sending(
    run_python: RunPython,
) -> None:
    lines = _lines(run_python, SENDING, "-")

    assert [line.rpartition("T")[2].split(" ", 1)[-1] for line in lines] == [
        "in the child",
        "0",
        "slow",
    ]


FORKING_SINK = """
class Forking(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "fork":
            self.child = os.fork()
            if not self.child:
                task_log("logged by the sink")
        elif os.getpid() != parent:
            print("child fed:", record.getMessage(), flush=True)

class Who(logging.Formatter):
    def format(self, record):
        return f"{'parent' if os.getpid() == parent else 'child'} {record.getMessage()}"

class Forker(TaskObserver):
    handler = Forking()

manager = TaskManager(loggers=[Forker(), StdoutLogger(formatter=Who())])

async def body():
    task_log("fork")
    if os.getpid() == parent:
        print("parent:", ended(Forker.handler.child), flush=True)
    else:
        task_log("after")

manager.run(body)
"""


def test_a_sink_that_forks_is_not_fed_in_the_child_what_it_logs_itself(
    run_python: RunPython,
) -> None:
    lines = _lines(run_python, FORKING_SINK, "-")

    told = [line for line in lines if line.startswith("child")]
    assert told == [
        "child fork",
        "child logged by the sink",
        "child fed: after",
        "child after",
    ]
    assert [line for line in lines if line not in told] == ["parent fork", "parent: 0"]


LIFESPAN = """
manager = TaskManager(loggers=[Writing()], max_concurrent_tasks=1)

def own():
    task_log("own")

async def serve():
    async with manager:
        await manager.execute(own)

def body():
    child = os.fork()
    if not child:
        signal.alarm(20)
        if how == "run":
            sys.exit(0 if manager.run(own).status.value == "success" else 1)
        asyncio.run(serve())
        sys.exit(0)
    print("ended", ended(child), flush=True)

async def main():
    async with manager:
        await manager.execute(body)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["run", "serve"])
def test_a_child_of_a_served_manager_uses_it_anew(run_python: RunPython, how: str) -> None:
    lines = _lines(run_python, LIFESPAN, how)

    told = [line for line in lines if line.startswith("child")]
    assert told == [f"child {what}" for what in ("startup", "running", "own", "success", "close")]
    assert [line for line in lines if line not in told] == [
        "parent startup",
        "parent running",
        "ended 0",
        "parent success",
        "parent close",
    ]


BODIES = """
os.chdir(sys.argv[3])
queued = sys.argv[2] == "queued"
manager = TaskManager(
    loggers=[FileLogger("a.log", queued=queued, log_lifecycle=True), Writing()],
    snapshot_db="tasks.db",
)

def go_on():
    child = os.fork()
    if child:
        assert ended(child) == {"exit": 3, "return": 0, "raise": 1}[how]
        return
    sys.stderr = open(os.devnull, "w")  # which tells of the error
    for number in range(100):
        task_log(f"line {number}")
    if how == "exit":
        sys.exit(3)
    if how == "raise":
        raise ValueError

async def go_on_async():
    go_on()

for body in go_on, go_on_async:
    print("parent", manager.run(body).status.value, flush=True)
print(rows("SELECT count(*) FROM taskflow_owners"), flush=True)
"""


@pytest.mark.parametrize("file", ["queued", "direct"])
@pytest.mark.parametrize("end", ["exit", "return", "raise"])
def test_a_child_forked_in_a_body_logs_for_the_task_and_ends_where_it_leaves_the_body(
    run_python: RunPython, tmp_path: Path, end: str, file: str
) -> None:
    lines = _lines(run_python, BODIES, end, file, str(tmp_path))

    logged = [f"line {number}" for number in range(100)]
    assert [line for line in lines if line.startswith("child")] == [
        "child startup",
        *(f"child {line}" for line in logged),
        "child close",
    ] * 2
    assert "[(1,)]" in lines  # the parent is its only owner
    log = [line.split(" ") for line in (tmp_path / "a.log").read_text().splitlines()]
    assert [" ".join(words[3:]) for words in log] == ["-- RUNNING", *logged, "-- SUCCESS"] * 2
    assert len({words[0] for words in log}) == 2  # the two tasks' ids
    with sqlite3.connect(tmp_path / "tasks.db") as connection:
        found = connection.execute("SELECT message FROM taskflow_entries ORDER BY id").fetchall()
    connection.close()
    assert [message for (message,) in found if message.startswith("line")] == logged * 2


MULTIPROCESSING = """
import time

class Slow(logging.Handler):
    def emit(self, record):
        time.sleep(0.001)
        os.write(1, (record.getMessage() + "\\n").encode())

class SlowObserver(TaskObserver):
    async def on_log(self, event):
        await asyncio.sleep(0.001)
        os.write(1, (event.message + "\\n").encode())

choices = {"file": FileLogger("/dev/stdout", queued=True, formatter=logging.Formatter()),
           "handler": Slow(), "observer": SlowObserver()}
manager = TaskManager(loggers=[choices[how]])

def say():
    for number in range(300):
        task_log(f"line {number}")

def work():
    if sys.argv[2] == "own task":
        manager.run(say)
    else:
        say()

def body():
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0

manager.run(body)
"""


@pytest.mark.parametrize("task", ["own task", "parent's task"])
@pytest.mark.parametrize("how", ["file", "handler", "observer"])
def test_a_child_of_multiprocessing_loses_nothing_that_waits(
    run_python: RunPython, how: str, task: str
) -> None:
    lines = _lines(run_python, MULTIPROCESSING, how, task)

    found = [line for line in lines if line.startswith("line ")]
    assert found == [f"line {number}" for number in range(300)]


FIGURES = """
go = threading.Event()

class Stuck(logging.Handler):
    def emit(self, record):
        go.wait()

manager = TaskManager(loggers=[Stuck()], drain_timeout=0.0)
manager.run(task_log, "text")
child = os.fork()
if not child:
    stats = manager.observer_stats()
    print(all(figures == ObserverStats() for figures in stats.values()), len(stats), flush=True)
    os._exit(0)
print(ended(child), manager.observer_stats()["Stuck"].queued > 0)
go.set()
"""


def test_a_childs_figures_begin_at_nought(run_python: RunPython) -> None:
    assert _lines(run_python, FIGURES, "-") == ["True 2", "0 True"]


SIGNALS = """
heard = []
def before(number, frame):
    heard.append(number)

signal.signal(signal.SIGTERM, before)
manager = TaskManager()

async def serve():
    async with manager:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)

def in_child():
    assert signal.getsignal(signal.SIGTERM) is before
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    asyncio.run(serve())
    assert heard == [signal.SIGTERM] * 2
    assert signal.getsignal(signal.SIGTERM) is before

def body():
    child = os.fork()
    if not child:
        in_child()
        sys.exit(0)
    print(ended(child), heard, signal.getsignal(signal.SIGTERM) is before)

async def main():
    async with manager:
        await manager.execute(body)

asyncio.run(main())
print(signal.getsignal(signal.SIGTERM) is before)
"""


def test_a_childs_signals_go_where_they_went_before_its_parents_manager_listened(
    run_python: RunPython,
) -> None:
    assert _lines(run_python, SIGNALS, "-") == ["0 [] False", "True"]


OWNERS = """
os.chdir(sys.argv[2])
manager = TaskManager(snapshot_db="tasks.db")
waiting = Waiting(manager)
child = os.fork()
if not child:
    manager.run(task_log, "own")
    print(rows("SELECT count(*) FROM taskflow_owners"), flush=True)
    sys.exit(0)
print(ended(child))
print([pid == parent for pid, in rows("SELECT pid FROM taskflow_owners")])
waiting.end()
print(sorted(rows("SELECT func_name, status FROM taskflow_tasks")))
"""


def test_a_child_is_an_owner_of_its_own_and_leaves_its_parents_row(
    run_python: RunPython, tmp_path: Path
) -> None:
    assert _lines(run_python, OWNERS, "-", str(tmp_path)) == [
        "[(2,)]",
        "0",
        "[True]",
        "[('body', 'success'), ('task_log', 'success')]",
    ]
