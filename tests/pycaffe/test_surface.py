"""Each name of pycaffe's surface, as `surface.txt` lists it, is there and does what it should.

The checks are functions in the modules `checks_*`, registered under ``OWNER.NAME``; one may be that
of several names.
"""

from pathlib import Path

import pytest

from tests.pycaffe import (
    checks_blob,
    checks_caffe,
    checks_modules,
    checks_net,
    checks_net_running,
    checks_program,
    checks_solver,
)

MODULES = (
    checks_blob,
    checks_caffe,
    checks_modules,
    checks_net,
    checks_net_running,
    checks_program,
    checks_solver,
)
CHECKS = {name: check for module in MODULES for name, check in module.CHECKS.items()}
FUNCTIONS = {
    f"{check.__module__.split('.')[-1]}.{check.__name__}": check for check in CHECKS.values()
}


def surface() -> list[str]:
    """The names of the list, such as 'Net.forward'."""
    found = []
    for line in (Path(__file__).parent / "surface.txt").read_text().splitlines():
        if not line.startswith("#"):
            owner, names = line.split(": ")
            found += [f"{owner}.{name}" for name in names.split()]
    return found


def test_each_name_has_a_check():
    assert sorted(CHECKS) == sorted(surface())
    assert len(FUNCTIONS) == len(set(CHECKS.values()))


@pytest.mark.parametrize("check", FUNCTIONS.values(), ids=FUNCTIONS)
def test_check(check, lab):
    check(lab)
