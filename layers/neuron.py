"""What the layers share that map each element on its own.

Source: `NeuronLayer` of BVLC Caffe.
"""

from caffe_spn.layer import Layer


class NeuronLayer(Layer):
    """Base of layers whose top has the shape of their bottom."""

    def reshape(self, bottom, top):
        top[0].reshape_like(bottom[0])
