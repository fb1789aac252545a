"""caffe-spn: the command line. Finds the command and turns its errors into messages."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from caffe_spn.errors import CaffeSpnError, nearest
from caffe_spn.version import __version__

# Commands and what they do. Each is the module of its name, imported only when it is called.
GROUPS = {
    "spatial propagation, and networks at large": {
        "demo": "show on a real picture what the package does",
        "refine": "sharpen coarse segmentations of your images",
        "new": "write prototxt files for a task of your own",
        "check": "list what is wrong in a prototxt, and its shapes",
        "fuse": "replace published propagation layers by the fast one",
        "expand": "the inverse of fuse, for the original Caffe fork",
        "run": "run a script that says 'import caffe' with this package",
    },
    "Caffe": {
        "train": "train a network, or go on from a snapshot",
        "test": "score a network on its test data",
        "time": "measure each layer's forward and backward pass",
        "device_query": "say what the package computes on",
    },
    "Caffe's companions": {
        "convert_imageset": "write a list of images into an LMDB or a LevelDB",
        "compute_image_mean": "average the images of a database",
        "classify": "predict the classes of images",
        "detect": "predict the classes of windows of images",
        "extract_features": "write what blobs of a network hold into databases",
        "resize_and_crop_images": "make squares of one size of images",
        "draw_net": "draw a network's layers and blobs",
        "summarize": "print a network as a table, one layer a line",
        "parse_log": "make tables of the log of a training",
        "plot_training_log": "draw curves from the logs of trainings",
        "extract_seconds": "list when a training reached its iterations",
        "upgrade_net_proto_text": "write an old network prototxt in today's form",
        "upgrade_net_proto_binary": "write old weights in today's form",
        "upgrade_solver_proto_text": "write an old solver prototxt in today's form",
    },
}
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}

EXIT_CODES = "exit codes: 0 all well, 1 an error, 2 wrong usage, 130 stopped by Ctrl-C"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the program's name; by default those of this process.

    Returns
    -------
    int
        The exit code: 0, 1 after an error, 2 for wrong usage, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug, extensions, words = _take_own(words)
    if not words or words[0] in ("-h", "--help", "-help", "help"):
        if words[1:] and words[0] == "help":
            return main([words[1], "--help"])
        print(usage(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] in ("-V", "--version", "-version"):
        print(f"caffe-spn {__version__}")
        return 0
    command, arguments = words[0].replace("-", "_"), words[1:]
    if command not in COMMANDS:
        return _unknown(words[0])
    return _call(command, arguments, debug, extensions)


def usage() -> str:
    """The text of ``caffe-spn --help``."""
    width = max(map(len, COMMANDS))
    lines = []
    for title, group in GROUPS.items():
        lines += [f"{title}:", *(f"  {name:<{width}}  {what}" for name, what in group.items()), ""]
    return "\n".join(
        [
            f"caffe-spn {__version__}: spatial propagation networks and Caffe's tools",
            "",
            "usage: caffe-spn [--debug] [--extend FILE] COMMAND ...",
            "",
            *lines,
            "caffe-spn COMMAND --help tells all about a command, with an example.",
            "--debug shows where in the package an error came from.",
            "--extend FILE makes a fork of Caffe known: a .proto file with its messages or a .py",
            "file with its layers (docs/dialects.md); several times, or in CAFFE_SPN_EXTEND.",
            EXIT_CODES,
        ]
    )


def _take_own(words: list[str]) -> tuple[bool, list[str], list[str]]:
    """Whether --debug was given, the values of --extend, and the other words."""
    debug, extensions, rest = False, [], []
    words = list(words)
    # What stands behind `run SCRIPT` belongs to the script.
    while words and rest != ["run"]:
        word = words.pop(0)
        if word == "--debug":
            debug = True
        elif word.startswith("--extend="):
            extensions.append(word.partition("=")[2])
        elif word == "--extend":
            extensions.append(words.pop(0) if words else "")
        else:
            rest.append(word)
    return debug, extensions, rest + words


def _unknown(word: str) -> int:
    print(f"caffe-spn: there is no command '{word}'", file=sys.stderr)
    near = nearest(word.replace("-", "_"), COMMANDS)
    hint = f"did you mean '{near}'?" if near else "caffe-spn --help lists the commands"
    print(f"  help: {hint}", file=sys.stderr)
    return 2


def _call(command: str, arguments: list[str], debug: bool, extensions: list[str]) -> int:
    try:
        _extend(extensions)
        module = importlib.import_module(f"caffe_spn.tools.{command}")
        return module.main(arguments) or 0
    except SystemExit as stop:
        # argparse leaves this way, and so may a script that `run` runs.
        return _code(stop)
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print("\ncaffe-spn: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(describe(error, command), file=sys.stderr)
        return 1


def _extend(extensions: list[str]) -> None:
    if "" in extensions:
        raise CaffeSpnError("--extend needs a file", help="caffe-spn --extend fork.proto train ...")
    inherited = os.environ.get("CAFFE_SPN_EXTEND", "").split(os.pathsep)
    names = [name for name in (*inherited, *extensions) if name]
    if names:
        from caffe_spn.extension import extend

        extend(*names)


def _code(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def describe(error: Exception, command: str) -> str:
    """What a user is shown of an error."""
    if isinstance(error, CaffeSpnError):
        # A place comes first on its line, so that editors can jump there.
        return str(error) if error.where else f"caffe-spn {command}: {error}"
    if isinstance(error, OSError) and error.strerror:
        names = " -> ".join(str(f) for f in (error.filename, error.filename2) if f is not None)
        return f"caffe-spn {command}: {names + ': ' if names else ''}{error.strerror}"
    if isinstance(error, MemoryError):
        return (
            f"caffe-spn {command}: not enough memory{f': {error}' if str(error) else ''}\n"
            "  help: use a smaller batch or, for refine, a smaller --tile"
        )
    if isinstance(error, ModuleNotFoundError):
        return (
            f"caffe-spn {command}: {error}\n"
            "  help: install the package again, pip install caffe_spn, to get what it needs"
        )
    own = _own_traceback(error)
    if own:
        return own
    return (
        f"caffe-spn {command}: unexpected {type(error).__name__}: {error}\n"
        f"  help: this is a fault of the package; caffe-spn --debug {command} ... shows where."
        " Please report it"
    )


def _own_traceback(error: Exception) -> str:
    """The part of the stack trace that is in a user's Python layer; nothing if none is."""
    note = getattr(error, "raised_in_layer", None)
    package = importlib.import_module("caffe_spn")
    ours = {os.path.dirname(os.path.abspath(package.__file__))}
    ours |= {os.path.dirname(os.path.abspath(layers)) for layers in _package_files()}
    frames = traceback.extract_tb(error.__traceback__)
    while frames and os.path.dirname(os.path.abspath(frames[0].filename)) in ours:
        del frames[0]
    if note is None or not frames:
        return ""
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
    lines += traceback.format_exception_only(error)
    text = "".join(lines).rstrip("\n")
    return text if note in text else f"{text}\n{note}"


def _package_files() -> list[str]:
    # An editable installation has these folders elsewhere.
    names = ("caffe_spn.tools", "caffe_spn.layers", "caffe_spn.data")
    return [sys.modules[name].__file__ for name in names if name in sys.modules]


if __name__ == "__main__":
    sys.exit(main())
