"""caffe-spn extract_seconds: when a training reached its iterations, as Caffe's own script."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe_spn.errors import DataError
from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "extract_seconds",
        """
        For each line of a training's log that names an iteration, write the seconds since the
        start of the training.
        """,
        "caffe-spn extract_seconds run.log seconds.txt",
    )
    parser.add_argument("input_file", metavar="LOG", help="the log, by this package or by Caffe")
    parser.add_argument("output_file", metavar="OUT", help="the file to write")
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn.tools.caffe_log import dated_lines

    lines = list(dated_lines(options.input_file))
    times = [time for time, line in lines if "Iteration" in line and not math.isnan(time)]
    if not times:
        raise DataError(
            "no line of it has a time and an iteration",
            where=options.input_file,
            help="lines of a log begin with the date: I1121 13:46:40.123456 ...",
        )
    with open(options.output_file, "w", encoding="utf-8") as file:
        file.writelines(f"{seconds:f}\n" for seconds in times)
    return 0
