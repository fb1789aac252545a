"""What a network design is, and how it becomes a train, a test and a deploy net.

A design adds the layers between its inputs (`image`, and `coarse` where it refines) and `score`,
one channel a class; data, losses and outputs around them are the same for all and stand here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from caffe_spn import layers as L
from caffe_spn.net_spec import NetSpec

PARTS = ("train", "test", "deploy")

IGNORE_LABEL = 255
VALIDATION_SEED = 1


@dataclass(frozen=True)
class Options:
    """What may differ between two networks of one design.

    Attributes
    ----------
    classes : int
    source : str
        The set to train on, in the layout of PASCAL VOC.
    coarse : str
        Folder of its coarse maps; empty: they are made from the labels.
    train_split, val_split : str
        Names of lists in the set.
    long_side : int
        Size of the images' longer side after loading; 0 keeps them.
    patch_size, patches_per_image, batch, test_batch : int
    channels : int
        Feature maps that are propagated.
    connection : str
        ``three-way`` or ``one-way``.
    normalization : str
        Of the gates: ``sum-abs``, ``clip`` or ``none``.
    units : int
        Propagations in a row under the same gates.
    """

    classes: int
    source: str
    coarse: str = ""
    train_split: str = "train"
    val_split: str = "val"
    long_side: int = 0
    patch_size: int = 128
    patches_per_image: int = 4
    batch: int = 8
    test_batch: int = 8
    channels: int = 32
    connection: str = "three-way"
    normalization: str = "clip"
    units: int = 2


def add_losses(n: NetSpec, part: str) -> None:
    """Softmax loss, summed over pixels and divided by the batch size; accuracy when testing."""
    n.loss = L.SoftmaxWithLoss(
        n.score, n.label, loss_param=dict(ignore_label=IGNORE_LABEL, normalize=False)
    )
    if part == "test":
        n.accuracy = L.Accuracy(n.score, n.label, ignore_label=IGNORE_LABEL)


@dataclass(frozen=True)
class Network:
    """A design with its options and its solver.

    Attributes
    ----------
    name : str
        Of the net, of its folder and of its snapshots.
    title : str
        One line for the files' heads; options in braces are filled in.
    scores : callable
        ``scores(net, options)`` adds the layers from the inputs to `score`.
    options : Options
    solver : mapping
        Fields of SolverParameter besides the names of files.
    inputs : tuple of str
        What the deploy net takes: image, coarse.
    losses : callable
        ``losses(net, part)`` adds what a train or test net ends with.
    notes : dict
        ``train``, ``test``, ``deploy`` or ``solver`` to a line for the head of that file.
    sections : dict
        Layer name to a line that stands above it in the files.
    mean : tuple of float
        Subtracted from blue, green, red by the data layer.
    multiple : int
        Heights and widths must be multiples of it.
    """

    name: str
    title: str
    scores: Callable[[NetSpec, Options], None]
    options: Options
    solver: Mapping[str, object]
    inputs: tuple[str, ...] = ("image", "coarse")
    losses: Callable[[NetSpec, str], None] = add_losses
    notes: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, str] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    multiple: int = 32


def build(network: Network, part: str):
    """The train, test or deploy net of a design, as a NetParameter."""
    n = NetSpec()
    if part == "deploy":
        _add_inputs(n, network)
    else:
        _add_patches(n, network, part)
    network.scores(n, network.options)
    if part == "deploy":
        n.prob = L.Softmax(n.score)
    else:
        network.losses(n, part)
    param = n.to_proto()
    param.name = network.name
    return param


def _add_inputs(n: NetSpec, network: Network) -> None:
    size = network.options.patch_size
    for name in network.inputs:
        channels = 3 if name == "image" else network.options.classes
        n[name] = L.Input(shape=dict(dim=[1, channels, size, size]))


def _add_patches(n: NetSpec, network: Network, part: str) -> None:
    o = network.options
    testing = part == "test"
    settings = dict(
        source=o.source,
        split=o.val_split if testing else o.train_split,
        num_classes=o.classes,
        ignore_label=IGNORE_LABEL,
        batch_size=o.test_batch if testing else o.batch,
        patch_size=o.patch_size,
        patches_per_image=o.patches_per_image,
    )
    if o.coarse:
        settings["coarse"] = o.coarse
    if o.long_side:
        settings["long_side"] = o.long_side
    if network.mean:
        settings["mean_value"] = list(network.mean)
    if testing:
        # Every run is measured on the same patches.
        settings["random_seed"] = VALIDATION_SEED
    n.image, n.coarse, n.label = L.SegmentationPatch(name="data", ntop=3, **settings)
