"""Write pictures into an LMDB and train from it: a script for pycaffe.

    caffe-spn run examples/lmdb_writer.py list.txt train_lmdb --size 64 --train 20

It knows nothing of caffe_spn: under BVLC Caffe, `python lmdb_writer.py ...` does the same. Each
line of list.txt holds a path and a label.
"""

import argparse

import caffe
import lmdb
import numpy as np
from caffe import layers as L
from caffe import params as P


def write(lines, path, size):
    """Write images as Datum messages, blue, green, red, in the order of the lines."""
    env = lmdb.open(path, map_size=2**34)
    with env.begin(write=True) as txn:
        for number, line in enumerate(lines):
            name, label = line.rsplit(None, 1)
            image = caffe.io.resize_image(caffe.io.load_image(name), (size, size))
            pixels = np.uint8(np.round(255 * image))[:, :, ::-1].transpose(2, 0, 1)
            datum = caffe.io.array_to_datum(np.ascontiguousarray(pixels), int(label))
            txn.put(b"%08d" % number, datum.SerializeToString())
    env.close()


def show(path):
    """Print what is in it, as read back."""
    env = lmdb.open(path, readonly=True)
    with env.begin() as txn:
        for key, value in txn.cursor():
            datum = caffe.proto.caffe_pb2.Datum.FromString(value)
            array = caffe.io.datum_to_array(datum)
            print(f"{key.decode()}: label {datum.label}, {array.shape}")
    env.close()


def network(path, batch, classes):
    """A small classifier that reads the LMDB."""
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        batch_size=batch, backend=P.Data.LMDB, source=path, ntop=2,
        transform_param={"mean_value": [104, 117, 123], "scale": 1 / 128.0},
    )  # fmt: skip
    n.conv = L.Convolution(
        n.data, kernel_size=5, stride=2, num_output=16, weight_filler={"type": "xavier"}
    )
    n.relu = L.ReLU(n.conv, in_place=True)
    n.pool = L.Pooling(n.relu, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    n.score = L.InnerProduct(n.pool, num_output=classes, weight_filler={"type": "xavier"})
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    return n.to_proto()


def train(net_file, steps):
    """Train for some steps and print the loss of each."""
    solver_file = net_file.replace("net", "solver")
    with open(solver_file, "w") as file:
        file.write(
            f'net: "{net_file}" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 1\n'
            "max_iter: 1000 display: 0 snapshot_after_train: false\n"
        )
    solver = caffe.get_solver(solver_file)
    for _ in range(steps):
        solver.step(1)
        loss = float(solver.net.blobs["loss"].data)
        print(f"iteration {solver.iter}: loss {loss:.4f}")


def main():
    parser = argparse.ArgumentParser(description="Write pictures into an LMDB, train from it.")
    parser.add_argument("list", help="lines of 'path label'")
    parser.add_argument("db", help="the LMDB to write")
    parser.add_argument("--size", type=int, default=64, help="side to resize to")
    parser.add_argument("--train", type=int, default=0, help="steps to train")
    args = parser.parse_args()

    with open(args.list) as file:
        lines = file.read().splitlines()
    write(lines, args.db, args.size)
    show(args.db)
    if args.train:
        classes = 1 + max(int(line.rsplit(None, 1)[1]) for line in lines)
        with open("net.prototxt", "w") as file:
            file.write(str(network(args.db, len(lines), classes)))
        train("net.prototxt", args.train)


if __name__ == "__main__":
    main()
