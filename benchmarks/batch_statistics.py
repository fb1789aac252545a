"""Measure the statistics of batch norm anew, with the weights that a training ended with.

While it trains, a network keeps moving averages of the mean and variance of each feature. They lag
behind the weights, and they weigh the last few batches most, so that two snapshots with nearly
equal weights may score differently. Here they become plain averages over many batches. Scores with
both tell how much of a difference between two models may be due to the statistics.

Source: "Rethinking 'Batch' in BatchNorm", Wu and Johnson, 2021, section 3 (PreciseBN).
"""

from __future__ import annotations

from pathlib import Path

import caffe_spn
from caffe_spn import random
from caffe_spn.proto import caffe_pb2, text

BATCHES = 100


def measure_statistics(network: Path, weights: Path, out: Path, seed: int) -> None:
    """Write weights whose batch statistics are averages over `BATCHES` of the training's batches.

    Parameters
    ----------
    network : Path
        The prototxt to train with.
    weights, out : Path
        The .caffemodel to read, and the one to write.
    seed : int
        Of the patches.
    """
    definition = text.read(str(network), caffe_pb2.NetParameter)
    for layer in definition.layer:
        if layer.type == "BatchNorm":
            # Sums without decay: every batch counts the same.
            layer.batch_norm_param.moving_average_fraction = 1.0
    random.set_random_seed(seed)
    net = caffe_spn.Net(definition, caffe_spn.TRAIN, weights=str(weights), source=str(network))
    try:
        for layer in net.layers:
            if layer.type == "BatchNorm":
                for blob in layer.blobs:
                    blob.data.fill(0)
        for _ in range(BATCHES):
            net.forward_loss()
        net.save(str(out))
    finally:
        net.close()
