"""The networks that docs/results.md compares: the demonstration's design and its twins."""

from __future__ import annotations

from pathlib import Path

from caffe_spn.proto import caffe_pb2, text
from caffe_spn.prototxt.generate import generate
from caffe_spn.prototxt.network import PARTS

CONNECTIONS = ("three-way", "one-way", "none")
# Of a training: validation crops are looked at, and snapshots are taken, this often.
INTERVALS = 10
# Of batch norm's moving averages. The design's 0.9 is for trainings of minutes; here they average
# over fifty batches, because the images of one set can differ a lot.
STATISTICS_FRACTION = 0.98


def write_network(
    folder: Path,
    source: str,
    connection: str,
    iterations: int,
    seed: int,
    long_side: int = 0,
    units: int = 2,
) -> None:
    """Write train, test, deploy and solver prototxt.

    Parameters
    ----------
    folder : Path
    source : str
        The set, in the layout of PASCAL VOC.
    connection : str
        One of `CONNECTIONS`. The twins are equal but for the propagation; see
        `leave_propagation_out` for ``none``. Each patch of a batch is of another image.
    iterations, seed, long_side, units : int
    """
    generate(
        folder,
        "demo",
        source,
        overwrite=True,
        iterations=iterations,
        connection="three-way" if connection == "none" else connection,
        long_side=long_side,
        units=units,
        patches_per_image=1,
    )
    for part in PARTS:
        path = folder / f"{part}.prototxt"
        net = text.read(str(path), caffe_pb2.NetParameter)
        for layer in net.layer:
            if layer.type == "BatchNorm":
                layer.batch_norm_param.moving_average_fraction = STATISTICS_FRACTION
        if connection == "none":
            leave_propagation_out(net)
        path.write_text(text.to_text(net), encoding="utf-8")
    path = folder / "solver.prototxt"
    solver = text.read(str(path), caffe_pb2.SolverParameter)
    solver.random_seed = seed
    interval = max(1, iterations // INTERVALS)
    solver.test_interval = solver.snapshot = interval
    solver.display = solver.average_loss = min(20, interval)
    path.write_text(text.to_text(solver), encoding="utf-8")


def leave_propagation_out(net) -> None:
    """The control: what the guidance network finds is added to the map instead of steering it.

    Such a net sees the same inputs through the same convolutions, so that what it lacks in
    accuracy is what the propagation gives. The guidance layer has as many feature maps as the
    mask then, and the filler of the other convolutions.
    """
    layers = {layer.name: layer for layer in net.layer}
    guidance, mask = layers["guidance"].convolution_param, layers["mask"].convolution_param
    guidance.num_output = mask.num_output
    guidance.weight_filler.CopyFrom(mask.weight_filler)
    propagation = layers["propagated"]
    propagation.ClearField("spatial_propagation_param")
    propagation.type = "Eltwise"
    propagation.eltwise_param.operation = caffe_pb2.EltwiseParameter.SUM
