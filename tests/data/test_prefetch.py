import gc
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from caffe_spn import DataError
from caffe_spn.data.prefetch import Prefetcher


def squares(index):
    return [np.array([index**2])]


def threads():
    return [t for t in threading.enumerate() if t.name == "caffe_spn prefetch"]


def wait_until(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_batches_come_in_order_from_any_start(depth):
    batches = Prefetcher(squares, depth, start=3)
    assert [int(batches.get()[0][0]) for _ in range(10)] == [k**2 for k in range(3, 13)]
    assert batches.next_batch == 13
    batches.close()


def test_the_thread_runs_ahead_by_the_depth_and_no_more():
    made = []
    batches = Prefetcher(lambda k: made.append(k) or [k], depth=3)
    assert made == []  # nothing starts before the first batch is wanted
    batches.get()
    # Three wait in the queue, and one more is made and waits for its place.
    assert wait_until(lambda: len(made) == 5)
    time.sleep(0.1)
    assert made == [0, 1, 2, 3, 4]
    batches.close()


def test_an_exception_arrives_at_its_batch_and_can_be_tried_again():
    broken = [True]

    def produce(index):
        if index == 2 and broken[0]:
            raise DataError("bad file", where="list.txt:3")
        return [index]

    batches = Prefetcher(produce, depth=4)
    assert [batches.get(), batches.get()] == [[0], [1]]
    for _ in range(2):
        with pytest.raises(DataError, match=r"list\.txt:3"):
            batches.get()
    broken[0] = False
    assert batches.get() == [2]
    batches.close()


def test_close_ends_the_thread_and_get_goes_on_where_it_was():
    batches = Prefetcher(squares, depth=2)
    batches.get()
    assert len(threads()) == 1
    batches.close()
    assert threads() == []
    assert batches.get()[0][0] == 1
    batches.close()
    batches.close()


def test_the_thread_ends_when_the_prefetcher_is_collected():
    batches = Prefetcher(squares, depth=2)
    batches.get()
    del batches
    gc.collect()
    assert wait_until(lambda: threads() == [])


PROGRAM = """
import time
from caffe_spn.data.prefetch import Prefetcher
def produce(k):
    {body}
    return [k]
batches = Prefetcher(produce, 2)
{use}
"""


def run(body, use, interrupt=False):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body, use=use)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if interrupt:
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors.decode()


def test_a_program_ends_although_the_thread_waits():
    code, errors = run("pass", "batches.get()")
    assert (code, errors) == (0, "")


def test_ctrl_c_gets_through_while_a_batch_is_awaited():
    use = "batches.get(); print('waiting', flush=True); batches.get()"
    code, errors = run("time.sleep(1000) if k else None", use, interrupt=True)
    assert code != 0 and "KeyboardInterrupt" in errors
