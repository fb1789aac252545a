"""caffe-spn upgrade_solver_proto_text: an old solver prototxt in today's form."""

from __future__ import annotations

from collections.abc import Sequence

from caffe_spn.tools import upgrade_files


def parser() -> upgrade_files.Parser:
    return upgrade_files.Parser(
        "upgrade_solver_proto_text",
        """
        Write a solver prototxt in today's form: the old enum solver_type becomes the string type.
        Every command upgrades what it reads by itself; this is for other programs.
        """,
        "caffe-spn upgrade_solver_proto_text old_solver.prototxt solver.prototxt",
    )


def main(argv: Sequence[str]) -> int:
    from caffe_spn.graph.upgrade import upgrade_solver
    from caffe_spn.proto import text

    def upgraded(solver, dropped):
        return upgrade_solver(solver)

    return upgrade_files.run(
        parser(), argv, "SolverParameter", "text", text.read, upgraded, upgrade_files.write_text
    )
