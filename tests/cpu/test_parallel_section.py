"""The lock under which parallel kernels run, and what is known of threads."""

import os
import threading

import pytest

from caffe_spn import cpu


def test_one_thread_at_a_time():
    order = []
    inside = threading.Event()

    def other():
        inside.wait()
        with cpu.parallel_section():
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with cpu.parallel_section():
        inside.set()
        thread.join(timeout=0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_sections_may_be_nested():
    with cpu.parallel_section(), cpu.parallel_section():
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_child_does_not_wait_for_a_thread_it_does_not_have():
    held, done = threading.Event(), threading.Event()

    def hold():
        with cpu.parallel_section():
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        acquired = cpu._lock.acquire(timeout=5)
        os._exit(0 if acquired else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_thread_count():
    assert 1 <= cpu.thread_count() <= (os.cpu_count() or 1)


def test_thread_count_without_numba(monkeypatch):
    monkeypatch.setattr(cpu, "compiled", lambda: False)
    assert cpu.thread_count() == 1
