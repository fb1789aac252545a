"""Parameters from one network to another of other layers, and bilinear interpolation as weights."""

import numpy as np


def transplant(new_net, net, suffix=""):
    """Copy parameters by layer name; with a suffix, those of NAME to NAME + suffix.

    Where shapes differ but counts agree, as between an inner product and the convolution that does
    the same, the numbers are taken in their order.
    """
    for name, blobs in net.params.items():
        new_name = name + suffix
        if new_name not in new_net.params:
            print("dropping", name)
            continue
        new_blobs = new_net.params[new_name]
        for i in range(min(len(blobs), len(new_blobs))):
            old, new = blobs[i].data, new_blobs[i].data
            how = "copying" if old.shape == new.shape else f"coercing {old.shape} to {new.shape}:"
            print(how, name, "->", new_name, i)
            new.flat = old.flat


def upsample_filt(size):
    """The weights of a bilinear interpolation, (size, size)."""
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 == 1 else factor - 0.5
    line = 1 - abs(np.arange(size) - center) / factor
    return np.outer(line, line)


def interp(net, layers):
    """Let deconvolutions enlarge each channel on its own."""
    for layer in layers:
        weights = net.params[layer][0].data
        outputs, inputs, height, width = weights.shape
        if outputs != inputs and inputs != 1:
            raise ValueError("input + output channels need to be the same or |output| == 1")
        if height != width:
            raise ValueError("filters need to be square")
        weights[...] = 0
        weights[range(outputs), range(inputs)] = upsample_filt(height)
