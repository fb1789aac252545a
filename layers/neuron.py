"""What the layers share that map each element on its own.

Source: `NeuronLayer` of BVLC Caffe.
"""

import warnings
from typing import ClassVar

from caffe_spn.layer import Layer


class NeuronLayer(Layer):
    """Base of layers whose top has the shape of their bottom.

    Attributes
    ----------
    formula : tuple of str
        The GPU path: a formula of ``cuda/pointwise.cu``, and the attributes of the layer that are
        its parameters. A layer without one has a GPU path of its own, or none.
    formula_in_place : str, optional
        The formula of the backward pass in place, where it is another.
    keeps_input : bool
        Whether the backward pass needs the input even where the top has overwritten it.
    flaw_in_place : str, optional
        What is wrong with the backward pass in place, where Caffe's is not the derivative.
    """

    formula: ClassVar[tuple[str, ...]] = ()
    formula_in_place: ClassVar[str | None] = None
    keeps_input: ClassVar[bool] = False
    flaw_in_place: ClassVar[str | None] = None
    warned = False

    def reshape(self, bottom, top):
        top[0].reshape_like(bottom[0])

    def forward_gpu(self, bottom, top):
        if not self.formula:
            super().forward_gpu(bottom, top)
            return
        from caffe_spn.cuda import pointwise
        from caffe_spn.cuda.runtime import runtime

        x = bottom[0].gpu_data
        if self.keeps_input and self.needs_backward and bottom[0] is top[0]:
            runtime().copy(self.gpu_workspace("input", x.shape), x)
        pointwise.forward(self.formula[0], x, top[0].new_gpu_data, *self._formula_parameters())

    def backward_gpu(self, top, propagate_down, bottom):
        if not self.formula:
            super().backward_gpu(top, propagate_down, bottom)
            return
        if not propagate_down[0]:
            return
        from caffe_spn.cuda import pointwise

        self.warn_in_place(bottom, top)
        formula, x = self.formula[0], bottom[0].gpu_data
        if bottom[0] is top[0]:
            formula = self.formula_in_place or formula
            if self.keeps_input:
                x = self.gpu_workspace("input", x.shape)
        pointwise.backward(
            formula,
            x,
            top[0].gpu_data,
            top[0].gpu_diff,
            bottom[0].new_gpu_diff,
            *self._formula_parameters(),
        )

    def _formula_parameters(self) -> list[float]:
        return [getattr(self, name) for name in self.formula[1:]]

    def warn_in_place(self, bottom, top) -> None:
        """Say once, if the layer runs in place, that the gradient is then not the derivative.

        Trained networks depend on Caffe's numbers, so they are kept where they are wrong.
        """
        if self.flaw_in_place and bottom[0] is top[0] and not self.warned:
            self.warned = True
            warnings.warn(
                f"{self.where}: the backward pass of {self.type} in place {self.flaw_in_place}, as"
                " in Caffe; give the top a name of its own for the true gradient",
                stacklevel=2,
            )
