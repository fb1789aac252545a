"""What all tests share."""

import signal

# A shell that starts the tests in the background lets them ignore Ctrl-C, and processes that they
# start inherit that. The tests send SIGINT themselves and need it to arrive.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--gpu", action="store_true", help="run tests/cuda on a GPU instead of the emulated one"
    )
