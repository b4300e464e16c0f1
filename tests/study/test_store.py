import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from pywatt.errors import StudyError
from pywatt.study.api import merge, table_of
from pywatt.study.claims import claimant, is_alive
from pywatt.study.record import RunRecord
from pywatt.study.store import SCHEMA_VERSION, Store

# Finishes runs for as long as it lives, and says which are kept.
WRITES = """
import sys
from pathlib import Path
from pywatt.study.record import RunRecord
from pywatt.study.store import Store

store = Store(Path(sys.argv[1]), create=True)
for number in range(10**6):
    store.finish(RunRecord(
        key=f"{sys.argv[2]}{number}", machine="m", setup="u", task="t", study="s", position=number,
        model="a", device="cpu", seed=0, repeat=number, notes=("n" * 3000,),
    ))
    print(f"{sys.argv[2]}{number}", flush=True)
"""

# Holds a claim, forks a child that outlives it, and waits for its death.
HOLDS = """
import os, signal, sys, time
from pathlib import Path
from pywatt.study.claims import claimant

with claimant(Path(sys.argv[1])) as token:
    if not os.fork():  # the child reports: by then it has let go of the lock
        print(token, os.getpid(), flush=True)
    time.sleep(60)
"""


def record(number=0, **changes):
    fields = {
        "key": f"key{number}",
        "machine": "m",
        "setup": "u",
        "task": "t",
        "study": "s",
        "position": number,
        "model": f"model{number}",
        "device": "cpu",
        "seed": 3,
        "repeat": 0,
    }
    return RunRecord(**fields | changes)


FULL = record(
    device_name="a CPU",
    accuracy=0.1 + 0.2,
    samples=450,
    test_energy_j=1 / 3,
    test_energy_j_std=1e-300,
    test_duration_s=2.0,
    train_energy_j=1e12 / 7,
    train_energy_j_std=0.0,
    train_duration_s=5.0,
    epochs=3,
    parameters=10**12,
    flops=1.5,
    peak_memory_bytes=2**40,
    estimated=True,
    sensors=("one", "two"),
    versions={"torch": "2"},
    date="2026-01-01T00:00:00+00:00",
    notes=("naïve ± note", "second"),
)


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_records_come_back_exactly_and_in_order(tmp_path):
    with Store(tmp_path / "r.db", create=True) as store:
        store.finish(record(2, error="why"))
        store.finish(FULL)
        store.finish(record(1, test_energy_j=2.0))
        expected = [FULL, record(1, test_energy_j=2.0), record(2, error="why")]
        assert store.records() == expected
    with Store(tmp_path / "r.db") as store:
        assert store.records() == expected


def test_a_run_is_claimed_by_one_only(tmp_path):
    path = tmp_path / "r.db"
    with Store(path, create=True) as one, Store(path) as other:
        with claimant(path) as first, claimant(path) as second:
            assert one.claim("key0", first, max_deaths=3) == 0
            assert other.claim("key0", second, max_deaths=3) is None
            assert other.claimed(["key0", "key1"]) == ["key0"]
            assert other.claim("key1", second, max_deaths=3) == 0
            one.finish(record(0))
            assert other.claim("key0", second, max_deaths=3) is None
            other.release("key1")
            assert one.claim("key1", first, max_deaths=3) == 0
        assert one.claimed(["key0", "key1"]) == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.db"]


def test_a_claim_ends_with_its_process_whatever_its_children_do(tmp_path):
    path = tmp_path / "r.db"
    Store(path, create=True).close()
    holder = start(HOLDS, path)
    token, child = holder.stdout.readline().split()
    try:
        with Store(path) as store, claimant(path) as own:
            assert store.claim("key0", token, max_deaths=3) == 0
            assert is_alive(path, token)
            assert store.claim("key0", own, max_deaths=3) is None
            holder.kill()
            holder.wait()
            assert not is_alive(path, token)
            assert store.claim("key0", own, max_deaths=3) == 1
    finally:
        holder.kill()
        os.kill(int(child), signal.SIGKILL)
        holder.stdout.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.db"]


def test_locks_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path):
    path = tmp_path / "r*.db"
    Store(path, create=True).close()
    (tmp_path / ".r*.db.0123456789abcdef.lock").touch()  # nobody holds it
    (tmp_path / ".other.db.0123456789abcdef.lock").touch()  # of another study
    with claimant(path) as first, claimant(path) as second:
        assert is_alive(path, first)
        assert is_alive(path, second)
        names = {entry.name for entry in tmp_path.iterdir()}
        locks = {f".r*.db.{token}.lock" for token in (first, second)}
        assert names == locks | {"r*.db", ".other.db.0123456789abcdef.lock"}


def test_a_run_that_processes_die_in_is_given_up(tmp_path):
    path = tmp_path / "r.db"
    with Store(path, create=True) as store:
        for deaths in range(3):
            assert store.claim("key0", f"dead{deaths}", max_deaths=3) == deaths
        assert store.claim("key0", "dead3", max_deaths=3) == 3
        assert store.claim("key0", "dead4", max_deaths=3) == 3
        store.forget_failures(["key0"], "m")
        assert store.claim("key0", "dead5", max_deaths=3) < 3


def test_only_the_own_failures_are_forgotten_and_they_are_tried_again(tmp_path):
    elsewhere = [
        record(0, machine="n", accuracy=0.5),  # failed here, went well there
        record(1, machine="n", error="why"),  # went well here, failed there
        record(2, machine="n", error="why"),  # failed there only
        record(3, machine="n", accuracy=0.5),  # went well there only
    ]
    own = [record(0, error="why"), record(1, accuracy=0.75)]
    keys = [f"key{number}" for number in range(4)]
    with Store(tmp_path / "r.db", create=True) as store, claimant(tmp_path / "r.db") as token:
        store.add([*own, *elsewhere])
        assert [store.claim(key, token, max_deaths=3) for key in keys] == [None] * 4
        store.forget_failures(keys, "m")
        assert store.records() == [elsewhere[0], own[1], *elsewhere[1:]]
        # Who asked for it may die before: it is still to be done.
        assert [store.claim(key, token, max_deaths=3) for key in keys] == [0, None, 0, None]
        store.finish(record(0, accuracy=0.25))
        store.finish(record(2, error="here too"))
        assert [store.claim(key, token, max_deaths=3) for key in keys] == [None] * 4
        assert [one.error for one in store.records()] == [
            None,
            None,
            None,
            "why",
            "here too",
            "why",
            None,
        ]


def test_nothing_that_was_kept_is_lost_by_kill_9(tmp_path):
    path = tmp_path / "r.db"
    Store(path, create=True).close()
    random.seed(4)
    kept = []
    for attempt in "ab":
        writers = [start(WRITES, path, attempt + name) for name in "xy"]
        for writer in writers:
            kept.append(writer.stdout.readline().strip())
        time.sleep(random.uniform(0.0, 0.2))
        for writer in writers:
            writer.kill()
        for writer in writers:
            kept += writer.communicate()[0].split()
    with Store(path) as store:
        assert store.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        there = {one.key for one in store.records()}
    assert set(kept) <= there
    assert len(there) <= len(kept) + 4  # one saved but not reported for each that died


def test_a_full_disk_is_an_error_and_what_was_kept_stays(tmp_path):
    path = tmp_path / "r.db"
    with Store(path, create=True) as store:
        store.finish(record(0))
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StudyError, match=r"disk is full; free space .* run the study again"):
            store.finish(record(1, notes=("n" * 100_000,)))
        assert store.records() == [record(0)]
    with Store(path) as store:
        assert store.records() == [record(0)]
        store.finish(record(1))  # there is space again
        assert len(store.records()) == 2


def test_a_file_that_may_not_grow_is_an_error_too(tmp_path):
    path = tmp_path / "r.db"
    with Store(path, create=True) as store:
        store.finish(record(0))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        try:
            with pytest.raises(StudyError, match="free space on its disk"):
                store.finish(record(1, notes=("n" * 100_000,)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handled)
        assert store.records() == [record(0)]


def test_what_is_no_results_file_is_an_error(tmp_path):
    with pytest.raises(StudyError, match="run the study first"):
        Store(tmp_path / "absent.db")
    (tmp_path / "text.db").write_text("no database, but long enough to have a header " * 20)
    with pytest.raises(StudyError, match="not a database"):
        Store(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (a)")
    other.close()
    for create in (False, True):
        with pytest.raises(StudyError, match="holds no results of pywatt"):
            Store(tmp_path / "other.db", create=create)
    with pytest.raises(StudyError, match="its folder must exist"):
        Store(tmp_path / "absent" / "r.db", create=True)


def test_a_newer_file_is_refused(tmp_path):
    with Store(tmp_path / "r.db", create=True) as store:
        store.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StudyError, match=r"newer pywatt.*pip install --upgrade"):
        Store(tmp_path / "r.db")


def filled(path, *records):
    with Store(path, create=True) as store:
        store.add(records)
    return path


def test_files_of_several_machines_merge(tmp_path):
    a = filled(tmp_path / "a.db", record(0), record(1, error="failed here"), record(3))
    b = filled(
        tmp_path / "b.db",
        record(0),
        record(1, accuracy=0.5),
        record(2),
        record(3, accuracy=0.25),
        record(0, machine="n", accuracy=0.75),
    )
    before = a.read_bytes(), b.read_bytes()
    merged = merge(tmp_path / "all.db", [a, b])
    assert (merged.added, merged.same, merged.kept, merged.replaced) == (5, 1, 1, 1)
    with Store(tmp_path / "all.db") as store:
        assert store.records() == [
            record(0),
            record(0, machine="n", accuracy=0.75),
            record(1, accuracy=0.5),
            record(2),
            record(3),
        ]
    assert (a.read_bytes(), b.read_bytes()) == before
    again = merge(tmp_path / "all.db", [b, a])
    assert (again.added, again.replaced) == (0, 0)
    names = [model.name for model in table_of(tmp_path / "all.db").models]
    assert names[:3] == ["model0 at m", "model0 at n", "model1 at m"]


def test_a_merge_that_makes_no_sense_is_refused_as_a_whole(tmp_path):
    a = filled(tmp_path / "a.db", record(0))
    b = filled(tmp_path / "b.db", record(1), record(2, task="another", study="other"))
    with pytest.raises(StudyError, match=r"different data or metrics \(other, s\)"):
        merge(a, [b])
    with Store(a) as store:
        assert store.records() == [record(0)]
    with pytest.raises(StudyError, match="different data"):
        merge(tmp_path / "new.db", [a, b])
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(StudyError, match="into itself"):
        merge(a, [a])
    with pytest.raises(StudyError, match=r"there is no .*absent\.db"):
        merge(a, [tmp_path / "absent.db"])
    with pytest.raises(StudyError, match="different data"):
        table_of(b)
