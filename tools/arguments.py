"""Command-line arguments in Caffe's spelling and in today's: -gpu 0, --gpu=0, --sigint-effect."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from caffe_spn.tools.main import EXIT_CODES

# What gflags takes behind the = of a flag.
_FLAG_VALUES = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0"), False
)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that takes Caffe's single dashes, and - for _ in the names of options.

    Parameters
    ----------
    command : str
        The word after ``caffe-spn``.
    description : str
        What the command does; its paragraphs are kept.
    example : str or sequence of str
        Lines to copy, shown below the options.
    exit_codes : str, optional
        If they differ from the usual ones.
    """

    def __init__(
        self,
        command: str,
        description: str,
        example: str | Sequence[str],
        exit_codes: str = EXIT_CODES,
    ):
        if not isinstance(example, str):
            example = "\n".join(example)
        example = textwrap.indent(textwrap.dedent(example).strip(), "  ")
        super().__init__(
            prog=f"caffe-spn {command}",
            description=textwrap.dedent(description).strip(),
            epilog=f"example:\n{example}\n\n{exit_codes}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Sequence[str] | None = None, namespace=None):
        return super().parse_known_args([self._spell(a) for a in args or ()], namespace)

    def _spell(self, word: str) -> str:
        """The option that a word stands for, in the parser's own spelling."""
        if not word.startswith("-") or len(word) < 3:
            return word
        name, equals, value = word.partition("=")
        plain = name.lstrip("-").replace("-", "_")
        for option, action in self._option_string_actions.items():
            spelled = option[2:].replace("-", "_")
            is_flag = isinstance(action, argparse.BooleanOptionalAction)
            # gflags writes --nogray for --no-gray, and --gray=false.
            if option.startswith("--") and (
                spelled == plain or (is_flag and spelled.replace("no_", "no", 1) == plain)
            ):
                if is_flag and value.lower() in _FLAG_VALUES:
                    return option if _FLAG_VALUES[value.lower()] else f"--no-{option[2:]}"
                return option + equals + value
        return word


def words(text: str) -> list[str]:
    """The parts of a comma-separated list, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def positive(text: str) -> int:
    """An int of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def add_flag(parser: Parser, name: str, help: str) -> None:
    """Add an option without a value, off by default; --no-NAME and --NAME=false turn it off."""
    parser.add_argument(name, action=argparse.BooleanOptionalAction, default=False, help=help)


def add_backend(parser: Parser) -> None:
    """Add --backend, the kind of a database."""
    parser.add_argument(
        "--backend",
        type=str.lower,
        choices=("lmdb", "leveldb"),
        default="lmdb",
        help="the kind of database (lmdb)",
    )


def add_state(parser: Parser, phase: bool = True) -> None:
    """Add --phase, --level and --stage, which choose among a network's layers."""
    group = parser.add_argument_group("which layers (include and exclude rules)")
    if phase:
        group.add_argument(
            "--phase",
            type=str.upper,
            choices=("TRAIN", "TEST"),
            help="the network's phase",
        )
    group.add_argument("--level", type=int, default=0, help="the network's level (0)")
    group.add_argument(
        "--stage",
        type=words,
        default=[],
        metavar="A,B",
        help="the network's stages, comma-separated",
    )


def add_python_switch(parser: Parser) -> None:
    """Add --no-python-layers."""
    parser.add_argument(
        "--no-python-layers",
        action="store_true",
        help="refuse layers of type Python: they are code, named by the prototxt",
    )


def add_model(parser: Parser, weights_required: bool = True) -> None:
    """Add --model and --weights; see `caffe_spn.tools.open_net`."""
    parser.add_argument("--model", required=True, metavar="FILE", help="the network's prototxt")
    add_weights(parser, "its trained weights", weights_required)


def add_weights(parser: Parser, help: str, required: bool = False) -> None:
    """Add --weights, a list of files."""
    parser.add_argument(
        "--weights",
        action="extend",
        type=words,
        default=[],
        required=required,
        metavar="A,B",
        help=f"{help} (.caffemodel or .caffemodel.h5), copied by layer name; comma-separated or"
        " several times",
    )


def add_engine(parser: Parser, phase: bool = False) -> None:
    """Add what all commands that run a network share, at the end of their options."""
    add_state(parser, phase)
    add_python_switch(parser)
    add_gpu(parser)


def gpus(text: str) -> list[int] | str:
    """Numbers of GPUs, comma-separated, or 'all'."""
    if text.strip().lower() == "all":
        return "all"
    try:
        found = [int(word) for word in words(text)]
    except ValueError:
        found = []
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is neither the number of a GPU nor 'all'")
    return found


def add_gpu(parser: Parser, takes_id: bool = True) -> None:
    """Add Caffe's --gpu; see `choose_device`."""
    if takes_id:
        parser.add_argument(
            "--gpu",
            type=gpus,
            metavar="ID",
            help="compute on the GPU of this number (device_query lists them); by default on the"
            " CPU",
        )
    else:
        parser.add_argument(
            "--gpu", action="store_const", const=[0], help="compute on the first GPU"
        )


def parse(parser: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command that has --gpu; the device that it names is chosen."""
    options = parser.parse_args(argv)
    choose_device(options.gpu)
    return options


def choose_device(chosen: Sequence[int] | str | None) -> None:
    """Do what --gpu asks for: compute on that GPU, or without it on the CPU.

    Of several the first is used, as Caffe's commands do except train.

    Raises
    ------
    DeviceError
        If the GPU cannot be used; what to do.
    """
    from caffe_spn import device

    if chosen is None:
        device.set_mode_cpu()
        return
    device.set_device(0 if chosen == "all" else chosen[0])
    device.set_mode_gpu()


def say_device(cpu_source: str, gpu_source: str) -> None:
    """Say in Caffe's words what computes."""
    from caffe_spn import device
    from caffe_spn.training_log import info

    if device.mode() == device.CPU:
        info("Use CPU.", cpu_source)
        return
    from caffe_spn.cuda.runtime import runtime

    gpu = runtime().device
    info(f"Use GPU with device ID {gpu.ordinal}", gpu_source)
    info(f"GPU device name: {gpu.name}", gpu_source)
