"""What the three `upgrade_*` commands share: read an old file, write it in today's form.

Source: `upgrade_net_proto_text.cpp` and its two siblings in the tools of BVLC Caffe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from caffe_spn.errors import CaffeSpnError
from caffe_spn.tools import arguments

UNREADABLE = 2
EXIT_CODES = (
    "exit codes: 0 written; 1 wrong usage, or something could not be upgraded; 2 the input cannot"
    "\nbe read, as Caffe's own tool has them"
)


class Parser(arguments.Parser):
    """A parser for IN and OUT, which ends with 1 on wrong usage."""

    def __init__(self, command: str, description: str, example: str):
        super().__init__(command, description, example, EXIT_CODES)
        self.add_argument("input", metavar="IN", help="the file to read")
        self.add_argument("output", metavar="OUT", help="where to write; may be IN")

    def exit(self, status: int = 0, message: str | None = None):
        super().exit(min(status, 1), message)


def run(
    parser: Parser,
    argv: Sequence[str],
    message_name: str,
    kind: str,
    read: Callable,
    upgrade: Callable,
    write: Callable,
) -> int:
    """Read, upgrade and write, with the lines of Caffe's tool on stderr.

    Parameters
    ----------
    parser : Parser
    argv : sequence of str
    message_name : {'NetParameter', 'SolverParameter'}
    kind : {'text', 'binary'}
    read : callable
        ``read(path, message_class)``
    upgrade : callable
        Of a message and a list, which gets a line for each thing that is dropped; gives the new
        message.
    write : callable
        ``write(path, message)``

    Returns
    -------
    int
        The exit code.
    """
    from caffe_spn.proto import caffe_pb2
    from caffe_spn.training_log import info, init_log, logger

    options = parser.parse_args(argv)
    init_log()
    source = f"{parser.prog.split()[-1]}.cpp"

    def error(line: str) -> None:
        logger.error(line, extra={"source": source})

    try:
        old = read(options.input, getattr(caffe_pb2, message_name))
    except CaffeSpnError as reason:
        error(f"Failed to parse input {kind} file as {message_name}: {options.input}")
        error(str(reason))
        return UNREADABLE
    dropped: list[str] = []
    try:
        new = upgrade(old, dropped)
    except CaffeSpnError as reason:
        where = ": ".join(part for part in (options.input, reason.where) if part)
        raise type(reason)(reason.message, where, reason.help) from reason
    for line in dropped:
        error(line)
    if dropped:
        error("Encountered error(s) while upgrading prototxt; see details above.")
    elif new == old:
        error(f"File already in latest proto format: {options.input}")
    write(options.output, new)
    info(f"Wrote upgraded {message_name} {kind} proto to {options.output}", source)
    return 1 if dropped else 0


def write_text(path: str, message) -> None:
    """Write a message as prototxt; whoever opens the file finds the old one or the whole new one.

    Raises
    ------
    WeightsError
        If it cannot be written.
    """
    from caffe_spn.proto.files import atomic_write
    from caffe_spn.proto.text import to_text

    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(to_text(message))
