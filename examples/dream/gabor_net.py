"""A network that needs no training: oriented edges, and textures that are made of them.

Its filters are written by hand, which a dream shows well: what it amplifies can be told beforehand.
"""

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P

ORIENTATIONS = 8
SIZE = 9


def definition(side=64):
    """Images (1, 3, side, side), blue, green, red, to the strengths of the orientations."""
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, side, side]))
    n.edges = L.Convolution(n.data, num_output=2 * ORIENTATIONS, kernel_size=SIZE, pad=SIZE // 2)
    n.edges_relu = L.ReLU(n.edges, in_place=True)
    n.pool = L.Pooling(n.edges_relu, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.texture = L.Convolution(n.pool, num_output=ORIENTATIONS, kernel_size=5, pad=2)
    n.texture_relu = L.ReLU(n.texture, in_place=True)
    # Only images of that very side get this far.
    n.score = L.InnerProduct(n.texture_relu, num_output=ORIENTATIONS)
    n.prob = L.Softmax(n.score)
    return n.to_proto()


def gabor(angle, phase):
    """A wave under a bell, (SIZE, SIZE), without a mean."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    along = x * np.cos(angle) + y * np.sin(angle)
    wave = np.cos(2 * np.pi * along / 6 + phase) * np.exp(-(x**2 + y**2) / 10)
    return wave - wave.mean()


def fill(net):
    """Waves of each orientation and both signs; a texture is the sum of all that has one."""
    edges, bias = (blob.data for blob in net.params["edges"])
    bias[...] = -2
    texture = net.params["texture"][0].data
    texture[...] = 0
    for k in range(ORIENTATIONS):
        for sign in range(2):
            edges[2 * k + sign] = gabor(np.pi * k / ORIENTATIONS, np.pi * sign) / 30
            texture[k, 2 * k + sign] = 1 / 25
    net.params["score"][0].data[...] = 1e-3
