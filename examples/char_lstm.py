"""Teach an LSTM to spell a sentence letter by letter, then let it write on its own.

    caffe-spn run examples/char_lstm.py --iterations 100

The parts are those of captioning scripts: sequences of N streams in an HDF5 file, with markers that
say where they begin; training on T steps at a time, with the state carried from batch to batch; and
a net of one step and one stream that is fed with what it wrote last.
"""

import argparse
import os

import caffe
import h5py
import numpy as np
from caffe import layers as L

TEXT = "the quick brown fox jumps over the lazy dog. "
STEPS, STREAMS, CELLS = 24, 4, 48


def write_data(text, symbols, folder):
    """Cut the text, many times repeated, into streams; one row of a dataset is one time step."""
    length = 4 * len(text)
    numbers = np.array([symbols.index(letter) for letter in text * 20], np.float32)
    offsets = np.arange(STREAMS) * length
    streams = np.stack([numbers[start : start + length + 1] for start in offsets], axis=1)
    cont = np.ones((length, STREAMS), np.float32)
    cont[0] = 0
    path = os.path.join(folder, "letters.h5")
    with h5py.File(path, "w") as file:
        file["letter"], file["next"], file["cont"] = streams[:-1], streams[1:], cont
    with open(os.path.join(folder, "letters.txt"), "w") as file:
        file.write(path + "\n")
    return file.name


def scores(letter, cont, symbols):
    """The layers from letters (T, N) to the scores of the next ones, (T, N, symbols)."""
    uniform = dict(type="uniform", min=-0.1, max=0.1)
    vectors = L.Embed(letter, input_dim=len(symbols), num_output=16, weight_filler=uniform)
    lstm = L.LSTM(vectors, cont, recurrent_param=dict(num_output=CELLS, weight_filler=uniform))
    return L.InnerProduct(lstm, num_output=len(symbols), axis=2, weight_filler=uniform)


def write_networks(source, symbols, folder):
    """train.prototxt reads the file; write.prototxt has inputs for one step of one stream."""
    train = caffe.NetSpec()
    train.letter, train.next, train.cont = L.HDF5Data(source=source, batch_size=STEPS, ntop=3)
    train.score = scores(train.letter, train.cont, symbols)
    train.loss = L.SoftmaxWithLoss(train.score, train.next, softmax_param=dict(axis=2))
    write = caffe.NetSpec()
    write.letter = L.Input(shape=dict(dim=[1, 1]))
    write.cont = L.Input(shape=dict(dim=[1, 1]))
    write.score = scores(write.letter, write.cont, symbols)
    write.probability = L.Softmax(write.score, axis=2)
    for name, net in (("train", train), ("write", write)):
        with open(os.path.join(folder, f"{name}.prototxt"), "w") as file:
            file.write(str(net.to_proto()))


def train(folder, iterations):
    """The trained net; its weights are also in letters.caffemodel."""
    solver_file = os.path.join(folder, "solver.prototxt")
    with open(solver_file, "w") as file:
        file.write(
            f'net: "{folder}/train.prototxt" type: "Adam" base_lr: 0.02 lr_policy: "fixed"\n'
            "momentum: 0.9 momentum2: 0.99 clip_gradients: 5 random_seed: 1\n"
            f'max_iter: {iterations} snapshot_prefix: "{folder}/letters"\n'
        )
    solver = caffe.get_solver(solver_file)
    for start in range(0, iterations, 50):
        solver.step(min(50, iterations - start))
        print(f"iteration {solver.iter}: loss {float(solver.net.blobs['loss'].data):.3f}")
    weights = os.path.join(folder, "letters.caffemodel")
    solver.net.save(weights)
    return weights


def write(folder, weights, symbols, first, count):
    """Start with a letter, and let the net continue: always with the most likely next letter."""
    net = caffe.Net(os.path.join(folder, "write.prototxt"), caffe.TEST, weights=weights)
    text = first
    for step in range(count):
        letter = np.array([[symbols.index(text[-1])]])
        out = net.forward(letter=letter, cont=np.array([[step > 0]]))
        text += symbols[int(out["probability"][0, 0].argmax())]
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--folder", default=".", help="where data, networks and weights go")
    options = parser.parse_args()
    symbols = sorted(set(TEXT))
    write_networks(write_data(TEXT, symbols, options.folder), symbols, options.folder)
    weights = train(options.folder, options.iterations)
    print(write(options.folder, weights, symbols, TEXT[0], len(TEXT) - 2))


if __name__ == "__main__":
    main()
