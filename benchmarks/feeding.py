"""How long a training step waits for its data: 256x256 JPEG datums from an LMDB, cropped to 227.

`python -m benchmarks.feeding` trains CaffeNet and ResNet-18 for some steps and prints, for each,
the share of the time that goes to the Data layer's forward pass: there a step waits for a batch
that is not ready, and copies it into its blob. Beside it stand the images a second that the reader
delivers alone, and the processor time that it takes from the step for decoding.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np

import caffe_spn as caffe
from benchmarks.timing import waited
from caffe_spn import layers as L
from caffe_spn import params as P
from caffe_spn.data.db import DatabaseWriter
from caffe_spn.proto import caffe_pb2

STORED = 256
CLASSES = 1000
# Steps before the clock runs: they compile, and fill the queue of batches.
WARM_UP = 2
PICTURES = ("astronaut", "chelsea", "coffee", "rocket", "cat", "colorwheel")


def write_database(path: Path, count: int) -> None:
    """Random parts of scikit-image's photographs, as the files of ImageNet are stored."""
    from PIL import Image
    from skimage import data

    rng = np.random.default_rng(0)
    pictures = [getattr(data, name)()[:, :, :3] for name in PICTURES]
    pictures = [p for p in pictures if min(p.shape[:2]) >= STORED]
    with DatabaseWriter(path, "lmdb") as db:
        for n in range(count):
            picture = pictures[n % len(pictures)]
            top, left = (int(rng.integers(side - STORED + 1)) for side in picture.shape[:2])
            stream = io.BytesIO()
            part = picture[top : top + STORED, left : left + STORED]
            Image.fromarray(part).save(stream, "JPEG", quality=95)
            label = int(rng.integers(CLASSES))
            datum = caffe_pb2.Datum(data=stream.getvalue(), label=label, encoded=True)
            db.put(b"%08d" % n, datum.SerializeToString())


def data_layer(net: caffe.NetSpec, source: Path, batch: int, crop: int) -> None:
    """Data from a database, as Caffe's ImageNet examples read them."""
    net.data, net.label = L.Data(
        source=str(source),
        backend=P.Data.LMDB,
        batch_size=batch,
        transform_param={"crop_size": crop, "mirror": True, "mean_value": [104, 117, 123]},
        ntop=2,
    )


def caffenet(net: caffe.NetSpec) -> None:
    """The layers of BVLC's reference CaffeNet."""

    def conv(bottom, **fields):
        return L.Convolution(bottom, weight_filler={"type": "gaussian", "std": 0.01}, **fields)

    def pooled(bottom):
        return L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=2)

    x = L.ReLU(conv(net.data, kernel_size=11, stride=4, num_output=96), in_place=True)
    x = L.LRN(pooled(x), local_size=5, alpha=1e-4, beta=0.75)
    x = L.ReLU(conv(x, kernel_size=5, pad=2, group=2, num_output=256), in_place=True)
    x = L.LRN(pooled(x), local_size=5, alpha=1e-4, beta=0.75)
    for outputs, group in ((384, 1), (384, 2), (256, 2)):
        x = conv(x, kernel_size=3, pad=1, group=group, num_output=outputs)
        x = L.ReLU(x, in_place=True)
    x = pooled(x)
    for outputs in (4096, 4096):
        x = L.InnerProduct(x, num_output=outputs, weight_filler={"type": "gaussian", "std": 0.005})
        x = L.Dropout(L.ReLU(x, in_place=True), dropout_ratio=0.5, in_place=True)
    net.score = L.InnerProduct(x, num_output=CLASSES, weight_filler={"type": "xavier"})


def resnet18(net: caffe.NetSpec) -> None:
    """The layers of ResNet-18."""

    def conv(bottom, outputs, kernel, stride=1, relu=True):
        x = L.Convolution(
            bottom,
            num_output=outputs,
            kernel_size=kernel,
            stride=stride,
            pad=kernel // 2,
            bias_term=False,
            weight_filler={"type": "msra"},
        )
        x = L.Scale(L.BatchNorm(x, in_place=True), bias_term=True, in_place=True)
        return L.ReLU(x, in_place=True) if relu else x

    x = conv(net.data, 64, 7, 2)
    x = L.Pooling(x, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for block in range(2):
            step = stride if block == 0 else 1
            branch = conv(conv(x, outputs, 3, step), outputs, 3, relu=False)
            kept = conv(x, outputs, 1, step, relu=False) if step > 1 else x
            x = L.ReLU(L.Eltwise(kept, branch), in_place=True)
    x = L.Pooling(x, pool=P.Pooling.AVE, global_pooling=True)
    net.score = L.InnerProduct(x, num_output=CLASSES, weight_filler={"type": "xavier"})


def small(net: caffe.NetSpec) -> None:
    """One convolution, to try this file out."""
    x = L.Convolution(net.data, num_output=4, kernel_size=11, stride=8)
    net.score = L.InnerProduct(x, num_output=CLASSES)


NETWORKS = {"caffenet": caffenet, "resnet18": resnet18, "small": small}


def make_solver(network: str, source: Path, batch: int, crop: int):
    """A solver that trains one of `NETWORKS` on a database."""
    net = caffe.NetSpec()
    data_layer(net, source, batch, crop)
    NETWORKS[network](net)
    net.loss = L.SoftmaxWithLoss(net.score, net.label)
    param = caffe_pb2.SolverParameter(
        net_param=net.to_proto(), base_lr=1e-4, lr_policy="fixed", momentum=0.9, max_iter=10**6
    )
    param.snapshot_after_train, param.random_seed = False, 1
    return caffe.get_solver(param)


def step_times(solver, steps: int) -> tuple[float, float, float]:
    """Seconds of a step, of these in the first layer, and how many threads lacked a processor."""
    first = solver.net.layers[0]
    forward, spent = first.forward, [0.0]

    def timed(bottom, top):
        start = time.perf_counter()
        forward(bottom, top)
        spent[0] += time.perf_counter() - start

    first.forward = timed
    solver.step(WARM_UP)
    spent[0] = 0.0
    disturbed, start = waited(), time.perf_counter()
    solver.step(steps)
    seconds = time.perf_counter() - start
    solver.net.close()
    return seconds / steps, spent[0] / steps, max(0.0, waited() - disturbed) / seconds


def reader_speed(source: Path, batch: int, crop: int, batches: int = 8) -> tuple[float, float]:
    """Images a second from the Data layer when nothing else runs, and processor time of one."""
    net = caffe.NetSpec()
    data_layer(net, source, batch, crop)
    net = caffe.Net(net.to_proto(), caffe.TRAIN)
    layer, tops = net.layers[0], [net.blobs["data"], net.blobs["label"]]
    # The queue holds some batches at first; measured is the steady state.
    for _ in range(6):
        layer.forward([], tops)
    start, processor = time.perf_counter(), time.process_time()
    for _ in range(batches):
        layer.forward([], tops)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    net.close()
    return batches * batch / seconds, processor / (batches * batch)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["caffenet", "resnet18"])
    parser.add_argument("--batch", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--crop", type=int, default=227)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--images", type=int, default=1024, help="in the database")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "lmdb"
        write_database(source, options.images)
        speed, processor = reader_speed(source, options.batch[0], options.crop)
        print(
            f"{STORED}x{STORED} JPEG, crop {options.crop}: {speed:.0f} images/s alone,"
            f" {processor * 1e3:.2f} ms of processor time for each",
            flush=True,
        )
        for network in options.networks:
            for batch in options.batch:
                solver = make_solver(network, source, batch, options.crop)
                step, spent, without = step_times(solver, options.steps)
                print(
                    f"  {network}, batch {batch}: a step {step * 1e3:.0f} ms, of these"
                    f" {spent * 1e3:.1f} ms ({spent / step:.1%}) in the Data layer;"
                    f" decoding takes {processor * batch * 1e3:.0f} ms of processor time"
                    f" ({without:.1f} threads waited for a processor)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
