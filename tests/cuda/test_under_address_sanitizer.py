"""Kernels do nothing that the address and undefined-behaviour sanitizers would report."""

import pytest

from tests.cuda.sanitized import repeat_tests

pytestmark = pytest.mark.usefixtures("emulated_only")


def test_nothing_is_reported():
    repeat_tests("address")
