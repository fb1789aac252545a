"""Networks for a user's own task: a shipped design with other options, written as prototxt."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from caffe_spn.errors import DataError, PrototxtError
from caffe_spn.prototxt import parser, small, spn, vgg
from caffe_spn.prototxt.files import write
from caffe_spn.prototxt.network import Network

DESIGNS = {
    "demo": small.DEMO,
    "helen": spn.HELEN_SPN,
    "voc": vgg.VOC_SPN,
    "parser": parser.HELEN_PARSER,
    "parser-highres": parser.HELEN_PARSER_HIGHRES,
}

CONNECTIONS = ("three-way", "one-way")
NORMALIZATIONS = ("sum-abs", "clip", "none")


def adapt(
    design: str,
    name: str,
    source: str,
    classes: int | None = None,
    base_lr: float | None = None,
    iterations: int | None = None,
    **options,
) -> Network:
    """A design for another task.

    Parameters
    ----------
    design : str
        One of `DESIGNS`.
    name : str
        Of the new network.
    source : str
        The set to train on, in the layout of PASCAL VOC.
    classes : int, optional
        By default what the set's meta.json lists.
    base_lr : float, optional
    iterations : int, optional
        The solver's steps and intervals are scaled with it.
    **options
        Attributes of `caffe_spn.prototxt.network.Options`; None keeps the design's.

    Raises
    ------
    DataError
        If the number of classes is neither given nor found in the set.
    PrototxtError
        If the options do not go together.

    Examples
    --------
    >>> network = adapt("demo", "nuclei", "data/dsb2018", classes=2, connection="one-way")
    >>> network.options.normalization
    'clip'
    """
    network = DESIGNS[design]
    given = {key: value for key, value in options.items() if value is not None}
    if given.get("connection") == "one-way":
        given.setdefault("normalization", "clip")
    classes = classes or _classes_of(source, given.get("train_split", "train"))
    adapted = replace(network.options, source=source, classes=classes, **given)
    _check(adapted, network.multiple)
    solver = dict(network.solver)
    if iterations:
        solver = scale_solver(solver, iterations)
    if base_lr:
        solver["base_lr"] = base_lr
    return replace(network, name=name, options=adapted, solver=solver)


def generate(folder, design: str, source: str, overwrite: bool = False, **options) -> list[Path]:
    """Write the files of an adapted design; paths in them are absolute.

    Parameters
    ----------
    folder : path
        Made if need be; its name becomes the network's.
    design, source, **options
        See `adapt`.
    overwrite : bool, default False

    Returns
    -------
    list of Path
        train, test, deploy and solver prototxt.

    Raises
    ------
    DataError
        If there is a solver in the folder already.
    """
    folder = Path(os.path.abspath(folder))
    if not overwrite and (folder / "solver.prototxt").exists():
        raise DataError(
            "has a solver.prototxt already",
            where=str(folder),
            help="name another folder, or allow to overwrite it (--force)",
        )
    if options.get("coarse"):
        options["coarse"] = os.path.abspath(options["coarse"])
    network = adapt(design, folder.name, os.path.abspath(source), **options)
    return write(network, folder, str(folder / "snapshots" / folder.name))


def scale_solver(solver: Mapping[str, object], iterations: int) -> dict[str, object]:
    """The same solver for another number of iterations, with all intervals in proportion."""
    scaled = {**solver, "max_iter": iterations}
    for name in ("stepsize", "test_interval", "snapshot"):
        if name in solver:
            scaled[name] = max(1, round(solver[name] * iterations / solver["max_iter"]))
    return scaled


def _classes_of(source: str, split: str) -> int:
    from caffe_spn.data.voc import VocSet

    classes = VocSet(source, split).num_classes
    if not classes:
        raise DataError(
            "has no meta.json that lists the classes",
            where=source,
            help="say how many classes there are, --classes",
        )
    return classes


def _check(options, multiple: int) -> None:
    if options.patch_size % multiple:
        raise PrototxtError(
            f"patches of {options.patch_size} pixels do not fit; this network halves its map until"
            f" {multiple} pixels are one",
            help=f"take a multiple of {multiple}",
        )
    if options.connection == "one-way" and options.normalization == "sum-abs":
        raise PrototxtError(
            "one-way gates cannot be normalised by their sum: p / |p| has no gradient",
            help="take clip",
        )
