"""Train a classifier of patches, make a fully convolutional network of it, and fine-tune that.

caffe-spn run examples/fcn_style/train.py --folder /tmp/fcn
"""

import argparse
import os

import caffe
import coins
import nets
import numpy as np
import score
import surgery

BATCH = 32
SOLVER = """
train_net: "{train}"
test_net: "{test}"
test_iter: 3
test_interval: 100000
test_initialization: false
base_lr: {rate}
lr_policy: "fixed"
momentum: 0.9
weight_decay: 0.0005
random_seed: 1
snapshot_after_train: false
"""


def write(folder, name, content):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.write(str(content))
    return path


def write_solver(folder, name, train, test, rate):
    files = {
        "train": write(folder, f"{name}_train.prototxt", train),
        "test": write(folder, f"{name}_val.prototxt", test),
    }
    return write(folder, f"{name}_solver.prototxt", SOLVER.format(rate=rate, **files))


def train_classifier(folder, iterations):
    """The net that tells coins from their surroundings in patches."""
    net = nets.classifier(BATCH)
    solver = caffe.SGDSolver(write_solver(folder, "patches", net, net, rate=0.01))
    data, labels = coins.patches(folder, 20 * BATCH, nets.PATCH, seed=1)
    solver.net.set_input_arrays(data, labels)
    accuracy = []
    for _ in range(iterations):
        solver.step(1)
        accuracy.append(float(solver.net.blobs["accuracy"].data))
    print(f"patches: accuracy {np.mean(accuracy[-10:]):.3f} in the last 10 batches")
    return solver.net


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=".", help="where data and networks go")
    parser.add_argument("--iterations", type=int, default=60, help="of each of both trainings")
    options = parser.parse_args()
    coins.write(options.folder)
    patch_net = train_classifier(options.folder, options.iterations)

    train = nets.fcn(folder=options.folder, split="train", shuffle=True, seed=1)
    val = nets.fcn(folder=options.folder, split="val")
    solver = caffe.SGDSolver(write_solver(options.folder, "fcn", train, val, rate=0.01))
    surgery.transplant(solver.net, patch_net)
    surgery.transplant(solver.net, patch_net, suffix="_conv")
    surgery.interp(solver.net, [name for name in solver.net.params if "up" in name])

    tiles = len(coins.read_names(options.folder, "val"))
    score.seg_tests(solver, tiles)
    for _ in range(3):
        solver.step(options.iterations // 3)
        score.seg_tests(solver, tiles)
    solver.net.save(os.path.join(options.folder, "fcn.caffemodel"))


if __name__ == "__main__":
    main()
