"""caffe-spn check: list everything that is wrong in a prototxt, and its shapes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from caffe_spn.errors import CaffeSpnError
from caffe_spn.tools import arguments


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "check",
        """
        Read networks and solvers, build what they describe, and list every problem at once, each
        with its line and a remedy; then the layers with their output shapes, parameters and
        memory. For a solver, its settings and all its networks are checked.

        A network whose rules speak of phases is checked in each phase that has data; another one
        in the TRAIN phase if it has a loss, else in TEST.

        Data that are not here are only warned of, as long as the layer states its shapes.
        Layers of type Python are code, which is run; --no-python-layers refuses them.
        """,
        """
        caffe-spn check train_val.prototxt solver.prototxt
        caffe-spn check deploy.prototxt --weights spn.caffemodel
        """,
        exit_codes="exit codes: 0 nothing wrong, 1 at least one problem, 2 wrong usage",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="network or solver prototxt")
    arguments.add_weights(parser, "weights that must fit the networks")
    parser.add_argument("--quiet", "-q", action="store_true", help="no tables")
    parser.add_argument("--strict", action="store_true", help="count warnings as problems")
    arguments.add_state(parser)
    arguments.add_python_switch(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    from caffe_spn.tools.check_file import check_file

    count = 0
    for index, path in enumerate(options.files):
        if index and not options.quiet:
            print()
        count += _report(path, check_file(path, options), options)
    return 1 if count else 0


def _report(path: str, results, options) -> int:
    """Print what was found in one file; returns the number of problems."""
    problems: list[CaffeSpnError] = []
    warnings: list[CaffeSpnError] = []
    for title, checked in results:
        if checked.net is not None and not options.quiet:
            from caffe_spn.tools.check_table import table

            print(f"{path}: {title}\n{table(checked.net, checked.stand_ins)}")
            checked.net.close()
        if checked.unreached:
            names = ", ".join(checked.unreached)
            print(f"  not looked at, as they follow from a faulty layer: {names}")
        problems += checked.problems
        warnings += checked.warnings
    problems, warnings = _unique(problems), _unique(warnings)
    for kind, errors in (("problem", problems), ("warning", warnings)):
        for error in errors:
            print(f"\n{kind}: {error}")
    if problems or warnings:
        print()
    verdict = [_count(problems, "problem")] if problems else ["no problem"]
    verdict += [_count(warnings, "warning")] if warnings else []
    print(f"{path}: {', '.join(verdict)}")
    sys.stdout.flush()
    return len(problems) + (len(warnings) if options.strict else 0)


def _unique(errors: Sequence[CaffeSpnError]) -> list[CaffeSpnError]:
    """Without repetitions: phases share layers."""
    return list({str(error): error for error in errors}.values())


def _count(items: Sequence, word: str) -> str:
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"
