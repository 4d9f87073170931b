import threading

import pytest
import structlog

from pmx_ray.errors import LedgerError
from serve_apps import outbox as module
from serve_apps.outbox import Outbox


class Shelf:
    """Takes batches, or refuses while it is told to."""

    def __init__(self):
        self.taken, self.refuses = [], None
        self.called = threading.Event()

    def write(self, batch):
        self.called.set()
        if self.refuses is not None:
            raise self.refuses
        self.taken += batch


@pytest.fixture
def shelf():
    return Shelf()


def test_flush_when_ledger_refuses_then_nothing_is_lost_and_order_stays(shelf):
    box = Outbox("x", shelf.write)
    for n in range(3):
        box.put(n)
    shelf.refuses = LedgerError("locked")
    with pytest.raises(LedgerError, match="locked"):
        box.flush()
    box.put(3)
    shelf.refuses = None
    box.flush()
    box.flush()
    assert shelf.taken == [0, 1, 2, 3]
    assert box.n_lost == 0


def test_flush_when_nothing_waits_then_writes_nothing(shelf):
    Outbox("x", shelf.write).flush()
    assert not shelf.called.is_set()


def test_put_when_too_much_waits_then_oldest_go_and_are_counted(shelf, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    box = Outbox("x", shelf.write)
    for n in range(8):
        box.put(n)
    assert box.n_lost == 3
    box.flush()
    assert shelf.taken == [3, 4, 5, 6, 7]


def test_flush_when_refused_and_more_came_meanwhile_then_oldest_go(shelf, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    box = Outbox("x", lambda batch: [box.put(n) for n in (5, 6)] and shelf.write(batch))
    for n in range(5):
        box.put(n)
    shelf.refuses = LedgerError("gone")
    with pytest.raises(LedgerError):
        box.flush()
    assert box.n_lost == 2
    shelf.refuses = None
    box.flush()
    assert shelf.taken == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("refusal", [LedgerError("locked"), ZeroDivisionError("a defect")])
def test_thread_when_writing_fails_then_lives_on_and_says_so(shelf, refusal):
    shelf.refuses = refusal
    box = Outbox("trail", shelf.write, every_s=0.001)
    box.put(1)
    with structlog.testing.capture_logs() as logs:
        box.start()
        assert shelf.called.wait(30)
        shelf.refuses = None
        box.stop()
    assert shelf.taken == [1]
    assert {line["event"] for line in logs} == {"records wait"}
    assert {line["of"] for line in logs} == {"trail"}


def test_stop_when_records_wait_then_they_are_written(shelf):
    box = Outbox("x", shelf.write, every_s=3600.0)
    box.start()
    box.put(1)
    box.stop()
    assert shelf.taken == [1]


def test_stop_when_never_started_then_what_waits_is_written_all_the_same(shelf):
    box = Outbox("x", shelf.write)
    box.put(1)
    box.stop()
    assert shelf.taken == [1]


def test_put_when_threads_put_while_another_writes_then_each_record_is_written_once(shelf):
    box = Outbox("x", shelf.write, every_s=0.0001)
    box.start()
    threads = [
        threading.Thread(target=lambda k=k: [box.put((k, n)) for n in range(500)]) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    box.stop()
    assert sorted(shelf.taken) == [(k, n) for k in range(4) for n in range(500)]
    assert all([n for j, n in shelf.taken if j == k] == list(range(500)) for k in range(4))
