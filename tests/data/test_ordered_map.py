import threading
import time

import pytest

from caffe_spn.data.ordered_map import ordered_map


def test_results_keep_the_order_of_the_items():
    def late(item):
        time.sleep(0.002 * (item % 3 == 0))
        return 10 * item

    assert list(ordered_map(late, range(100), threads=3)) == [10 * n for n in range(100)]
    assert list(ordered_map(late, [], threads=3)) == []


def test_an_error_comes_in_its_turn():
    results = ordered_map(lambda n: 1 // (n - 5), range(1000), threads=2)
    assert [next(results) for _ in range(5)] == [-1, -1, -1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_only_a_few_items_are_taken_ahead():
    taken = []

    def items():
        for n in range(1000):
            taken.append(n)
            yield n

    results = ordered_map(lambda n: n, items(), threads=2)
    assert next(results) == 0
    assert len(taken) < 20
    results.close()
    assert len(taken) < 20


def test_items_are_taken_in_the_calling_thread():
    def items():
        yield threading.get_ident()

    assert list(ordered_map(lambda n: n, items(), threads=2)) == [threading.get_ident()]
