"""caffe-spn parse_log: the outputs of a training's nets as tables, as Caffe's parse_log.py."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

from caffe_spn.errors import CaffeSpnError
from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "parse_log",
        """
        Make two tables of the log of a training, by this package or by Caffe: LOG.train and
        LOG.test, in OUTPUT_DIR. Their columns are NumIters, Seconds (since the start),
        LearningRate, and the outputs of the nets; an output with several values makes columns
        NAME, NAME_1, NAME_2, ...
        """,
        """
        caffe-spn parse_log run.log .
        caffe-spn parse_log --delimiter ';' caffe.INFO tables/
        """,
    )
    parser.add_argument("logfile_path", metavar="LOG", help="the log")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="where to write; must be there")
    parser.add_argument("--verbose", action="store_true", help="say what was written")
    parser.add_argument("--delimiter", default=",", help="what stands between columns (,)")
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    if len(options.delimiter) != 1:
        raise CaffeSpnError(
            f"the delimiter '{options.delimiter}' is not one character",
            help="a tab is --delimiter $'\\t'",
        )
    from caffe_spn.tools.caffe_log import read_log

    log = read_log(options.logfile_path)
    base = os.path.join(options.output_dir, os.path.basename(options.logfile_path))
    for name, rows in ((f"{base}.train", log.train), (f"{base}.test", log.test)):
        if rows:
            write_table(name, rows, options.delimiter)
        if options.verbose:
            print(f"Wrote {name}" if rows else f"Not writing {name}; no lines to write")
    return 0


def write_table(path: str, rows: Sequence[dict[str, float]], delimiter: str = ",") -> None:
    """Write rows; a column that some of them lack is empty there."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
