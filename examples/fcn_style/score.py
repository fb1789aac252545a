"""Score a segmentation network over a validation set."""

import numpy as np


def fast_hist(label, prediction, n):
    """How many pixels of each class (rows) are predicted as each class (columns)."""
    known = (label >= 0) & (label < n)
    pairs = n * label[known].astype(int) + prediction[known]
    return np.bincount(pairs, minlength=n * n).reshape(n, n)


def compute_hist(net, count, layer="score", gt="label"):
    """The histogram over `count` images, and their mean loss."""
    n_classes = net.blobs[layer].channels
    hist, loss = np.zeros((n_classes, n_classes)), 0
    for _ in range(count):
        net.forward()
        prediction = net.blobs[layer].data[0].argmax(0).flatten()
        hist += fast_hist(net.blobs[gt].data[0, 0].flatten(), prediction, n_classes)
        loss += net.blobs["loss"].data.flat[0]
    return hist, loss / count


def seg_tests(solver, count):
    """Score the solver's test net, which takes the weights that are trained; the mean IU."""
    net = solver.test_nets[0]
    net.share_with(solver.net)
    hist, loss = compute_hist(net, count)
    right = np.diag(hist)
    iu = right / (hist.sum(1) + hist.sum(0) - right)
    accuracy = right.sum() / hist.sum()
    print(
        f">>> Iteration {solver.iter}: loss {loss:.3f}, overall accuracy {accuracy:.3f},"
        f" mean IU {iu.mean():.3f}"
    )
    return iu.mean()
