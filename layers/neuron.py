"""What the layers share that map each element on its own.

Source: `NeuronLayer` of BVLC Caffe.
"""

import warnings

from caffe_spn.layer import Layer


class NeuronLayer(Layer):
    """Base of layers whose top has the shape of their bottom."""

    warned = False

    def reshape(self, bottom, top):
        top[0].reshape_like(bottom[0])

    def warn_in_place(self, bottom, top, flaw: str) -> None:
        """Say once, if the layer runs in place, that the gradient is then not the derivative.

        Trained networks depend on Caffe's numbers, so they are kept where they are wrong.
        """
        if bottom[0] is top[0] and not self.warned:
            self.warned = True
            warnings.warn(
                f"{self.where}: the backward pass of {self.type} in place {flaw}, as in Caffe;"
                " give the top a name of its own for the true gradient",
                stacklevel=2,
            )
