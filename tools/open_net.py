"""The network that a command runs: built, with its weights, and closed at the end."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from caffe_spn.net import Net
from caffe_spn.tools.weights import load_all


@contextlib.contextmanager
def open_net(options: argparse.Namespace, phase: int) -> Iterator[Net]:
    """The network of --model with the weights of --weights.

    Parameters
    ----------
    options : Namespace
        With what `arguments.add_model` and `arguments.add_engine` add.
    phase : int
    """
    net = Net(
        options.model,
        phase,
        options.level,
        options.stage,
        allow_python=not options.no_python_layers,
    )
    try:
        if options.weights:
            load_all(net, options.weights)
        yield net
    finally:
        net.close()
