"""Load weights for a command, and notice when they are those of another network."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from caffe_spn import weights_io
from caffe_spn.errors import WeightsError, nearest
from caffe_spn.weights_h5 import is_hdf5


def load(net, paths: Sequence[str]) -> list[str]:
    """Copy weights from files into a net, by layer name.

    Parameters
    ----------
    net : Net
    paths : sequence of str
        .caffemodel or .caffemodel.h5; a later one prevails.

    Returns
    -------
    list of str
        The layers with parameters for which no file has weights.

    Raises
    ------
    WeightsError
        If a file cannot be read or does not fit, or if it has weights for no layer at all.
    """
    with_params = list(net.params)
    found: set[str] = set()
    for path in paths:
        hdf5 = is_hdf5(path)
        weights = weights_io.read_h5(path) if hdf5 else weights_io.read_caffemodel(path)
        weights_io.apply(net, weights, strict_counts=not hdf5, where=path)
        names = {name for name, arrays in weights.items() if len(arrays)}
        if with_params and names.isdisjoint(with_params):
            raise _of_another_net(path, sorted(names), with_params)
        found |= names
    return [name for name in with_params if name not in found]


def load_all(net, paths: Sequence[str]) -> None:
    """As `load`, and warn of layers without weights: what they compute is worth nothing."""
    without = load(net, paths)
    if without:
        print(f"warning: {missing_text(without, paths)}", file=sys.stderr)


def missing_text(names: Sequence[str], paths: Sequence[str]) -> str:
    """What to say about layers without weights."""
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"no weights for {shown} in {', '.join(paths)}; they keep the values of their fillers"


def _of_another_net(path: str, names: Sequence[str], wanted: Sequence[str]) -> WeightsError:
    if not names:
        return WeightsError(
            "has no weights at all",
            where=path,
            help="a .caffemodel of a training is wanted, as its snapshots are",
        )
    close = nearest(wanted[0], names)
    return WeightsError(
        f"has weights for none of the net's layers: its layers are {', '.join(names[:5])}, ...,"
        f" the net's are {', '.join(wanted[:5])}, ...",
        where=path,
        help=f"weights go by layer name; is '{close}' what the net calls '{wanted[0]}'?"
        if close
        else "weights go by layer name; are these the weights of another network?",
    )
