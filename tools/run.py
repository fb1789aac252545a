"""caffe-spn run: run a script that says `import caffe` with this package in its place."""

from __future__ import annotations

import logging
import os
import runpy
import sys
import traceback
from collections.abc import Sequence

from caffe_spn.errors import CaffeSpnError
from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "run",
        """
        Run a Python script that was written for pycaffe: 'import caffe', in it and in the Python
        layers that it loads, gives this package. What stands behind the script is its own.

        Trainings log to stderr, in Caffe's lines, as under pycaffe; the environment variable
        GLOG_minloglevel silences them (1: warnings, 2: errors only), also where the script sets it.
        """,
        "caffe-spn run classify.py --model deploy.prototxt face.jpg",
        exit_codes="exit codes: 0 or what the script exits with; 1 if it ends with an exception",
    )
    parser.add_argument("script", help="the Python file")
    parser.add_argument("arguments", nargs="...", help="the script's own arguments")
    return parser


def main(argv: Sequence[str]) -> int:
    # Only what stands before the script is ours; a script's options may have our names.
    options = parser().parse_args(argv[:1])
    script, own = options.script, list(argv[1:])
    if not os.path.isfile(script):
        raise CaffeSpnError("there is no such script", where=script)
    from caffe_spn.alias import as_caffe
    from caffe_spn.training_log import init_log

    as_caffe()
    init_log().addFilter(_is_wanted)
    # As `python script.py` would have it.
    sys.argv = [script, *own]
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    try:
        runpy.run_path(script, run_name="__main__")
    except CaffeSpnError:
        raise
    except Exception as error:
        _show(error, script)
        return 1
    return 0


def _is_wanted(record: logging.LogRecord) -> bool:
    # Read for each record: scripts set the variable themselves, before they import caffe.
    level = os.environ.get("GLOG_minloglevel", "0")
    return record.levelno >= logging.INFO + 10 * (int(level) if level.isdigit() else 0)


def _show(error: Exception, script: str) -> None:
    """The script's own stack trace, without the frames of `runpy` and this file."""
    frames = traceback.extract_tb(error.__traceback__)
    names = [frame.filename for frame in frames]
    first = names.index(script) if script in names else 0
    if not first:
        # A syntax error has no frame in the script.
        sys.stderr.write("".join(traceback.format_exception_only(error)))
        return
    sys.stderr.write("Traceback (most recent call last):\n")
    sys.stderr.write("".join(traceback.format_list(frames[first:])))
    sys.stderr.write("".join(traceback.format_exception_only(error)))
