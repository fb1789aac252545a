"""Runs under a sanitizer: of a script, or of all tests that are marked ``sanitized``."""

import re

import pytest

from tests.cuda.emulation import sanitizers


def run_or_skip(sanitizer, *arguments):
    """The finished process of ``python ARGUMENTS``; skips where the sanitizer is missing."""
    try:
        return sanitizers.run(sanitizer, *arguments)
    except sanitizers.Unavailable as reason:
        pytest.skip(str(reason))


def repeat_tests(sanitizer):
    """Assert that the marked tests pass, and that the sanitizer reports nothing."""
    plain = ("-p", "no:cacheprovider", "--durations=5")
    done = run_or_skip(
        sanitizer, "-m", "pytest", "-s", "-x", *plain, "-m", "sanitized", "tests/cuda"
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert re.search(r"\d+ passed", done.stdout) or "100%" in done.stdout
