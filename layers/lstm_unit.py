"""LSTMUnit: one step of a long short-term memory, after its matrix products.

    i, f, o = sigmoid of the first three quarters of the gate input;  g = tanh of the last
    c = f (cont c_prev) + i g
    h = o tanh(c)

Source: `LSTMUnitLayer` of BVLC Caffe; W. Zaremba and I. Sutskever, "Learning to execute", 2014.
"""

import numpy as np

from caffe_spn.layer import Layer, register
from caffe_spn.layers.recurrent import no_marker_gradient
from caffe_spn.layers.sigmoid import sigmoid


def unit_forward(c_prev, cont, gates, c_in, c, tanh_c, h):
    """One step for arrays of one shape, which is that of all cells.

    Parameters
    ----------
    c_prev : array
    cont : array
        One marker for each stream, to be broadcast to the cells.
    gates : array (4, ...)
        The gate input; becomes i, f, o and g, which the backward pass needs.
    c_in, c, tanh_c, h : arrays
        Receive cont c_prev, the cell, its tanh and the output.
    """
    sigmoid(gates[:3], gates[:3])
    i, f, o, g = gates
    np.tanh(g, out=g)
    np.multiply(c_prev, cont, out=c_in)
    np.multiply(f, c_in, out=c)
    np.multiply(i, g, out=h)
    c += h
    np.tanh(c, out=tanh_c)
    np.multiply(o, tanh_c, out=h)


def unit_backward(cont, gates, c_in, tanh_c, h_diff, c_diff, gate_diff, scratch):
    """The derivatives of `unit_forward`, from the arrays that it filled.

    Parameters
    ----------
    h_diff : array
    c_diff : array
        The derivative by c; becomes that by c_prev.
    gate_diff : array (4, ...)
        Receives the derivative by the gate input.
    scratch : array
    """
    i, f, o, g = gates
    # c gets its derivative from h too.
    np.multiply(tanh_c, tanh_c, out=scratch)
    np.subtract(1, scratch, out=scratch)
    scratch *= o
    scratch *= h_diff
    c_diff += scratch
    # The slope of each gate's function, times what the gate is multiplied with, times above.
    np.subtract(1, gates[:3], out=gate_diff[:3])
    gate_diff[:3] *= gates[:3]
    np.multiply(g, g, out=gate_diff[3])
    np.subtract(1, gate_diff[3], out=gate_diff[3])
    for k, (factor, above) in enumerate(
        ((g, c_diff), (c_in, c_diff), (tanh_c, h_diff), (i, c_diff))
    ):
        gate_diff[k] *= factor
        gate_diff[k] *= above
    c_diff *= f
    c_diff *= cont


@register("LSTMUnit", bottoms=("c_prev", "gate_input", "cont"), tops=("c", "h"), in_place=False)
class LSTMUnit(Layer):
    """c = f (cont c_prev) + i g,  h = o tanh(c)

    With i, f and o the sigmoids of the first three quarters of `gate_input`, and g the tanh of its
    last quarter. It has no parameters; the `LSTM` layer is a whole network of such steps.

    Bottoms
    -------
    c_prev : (1, N, H)
        The cell state before this step.
    gate_input : (1, N, 4H)
        What goes into the gates i, f, o, g, in this order.
    cont : (1, N)
        0 where a sequence begins, so that c_prev counts as 0; otherwise 1. It gets no gradient.

    Tops
    ----
    c, h : (1, N, H)
        The cell state after this step, and the output.

    Raises
    ------
    ShapeError
        If a bottom does not have its shape.
    PrototxtError
        If a gradient of `cont` is asked for.

    Notes
    -----
    For a `cont` between 0 and 1 the gradient of the gate f is the derivative, as in Caffe on the
    GPU; on the CPU Caffe computes another number there.

    Examples
    --------
    ::

        layer { name: "unit_1" type: "LSTMUnit" bottom: "c_0" bottom: "gates_1" bottom: "cont_1"
                top: "c_1" top: "h_1" }
    """

    no_backward_bottoms = (2,)

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        if len(shape) != 3 or shape[0] != 1:
            raise self.shape_error(
                f"bottom 0 (c_prev) is {shape}; it must be (1, N, H), one step of N streams",
                help="slice the sequence along axis 0",
            )
        _, streams, size = shape
        wanted = {1: ("gate_input", (1, streams, 4 * size)), 2: ("cont", (1, streams))}
        for i, (name, needed) in wanted.items():
            if bottom[i].shape != needed:
                raise self.shape_error(
                    f"bottom {i} ({name}) is {bottom[i].shape}; for bottom 0 (c_prev) of shape"
                    f" {shape} it must be {needed}",
                    help="gate_input has four values for each value of c_prev, cont one for each"
                    " stream",
                )
        for blob in top:
            blob.reshape(*shape)

    def _kept(self, bottom):
        """What forward leaves for backward: the gates, c_in and tanh(c)."""
        shape = bottom[0].shape[1:]
        gates = self.workspace("gates", (4, *shape))
        return gates, self.workspace("c_in", shape), self.workspace("tanh_c", shape)

    @staticmethod
    def _by_gate(gate_values):
        """(1, N, 4H) seen as (4, N, H)."""
        _, streams, count = gate_values.shape
        return gate_values.reshape(streams, 4, count // 4).transpose(1, 0, 2)

    def forward_cpu(self, bottom, top):
        c_prev, cont = bottom[0].data[0], bottom[2].data[0][:, None]
        c, h = (blob.data[0] for blob in top)
        gates, c_in, tanh_c = self._kept(bottom)
        gates[...] = self._by_gate(bottom[1].data)
        unit_forward(c_prev, cont, gates, c_in, c, tanh_c, h)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[2]:
            raise no_marker_gradient(self, 2)
        if not any(propagate_down):
            return
        gates, c_in, tanh_c = self._kept(bottom)
        c_diff, gate_diff = (
            self.workspace("c diff", c_in.shape),
            self.workspace("diff", gates.shape),
        )
        c_diff[...] = top[0].diff[0]
        scratch = self.workspace("scratch", c_in.shape)
        cont, h_diff = bottom[2].data[0][:, None], top[1].diff[0]
        unit_backward(cont, gates, c_in, tanh_c, h_diff, c_diff, gate_diff, scratch)
        if propagate_down[0]:
            bottom[0].diff[0] = c_diff
        if propagate_down[1]:
            self._by_gate(bottom[1].diff)[...] = gate_diff

    def _kept_on_gpu(self, shape):
        streams, size = shape
        gates = self.gpu_workspace("gates", (streams, 4 * size))
        return gates, *(self.gpu_workspace(name, shape) for name in ("c_in", "tanh_c"))

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import recurrent
        from caffe_spn.cuda.runtime import runtime

        c_prev, marker = bottom[0].gpu_data[0], bottom[2].gpu_data[0]
        c, h = (blob.new_gpu_data[0] for blob in top)
        gates, c_in, tanh_c = self._kept_on_gpu(c_prev.shape)
        runtime().copy(gates, bottom[1].gpu_data[0])
        recurrent.lstm_forward(gates, marker, c_prev, c_in, c, tanh_c, h)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import recurrent
        from caffe_spn.cuda.runtime import runtime

        if propagate_down[2]:
            raise no_marker_gradient(self, 2)
        if not any(propagate_down):
            return
        marker, h_diff = bottom[2].gpu_data[0], top[1].gpu_diff[0]
        gates, c_in, tanh_c = self._kept_on_gpu(h_diff.shape)
        wanted = [
            b.new_gpu_diff[0] if p else None for b, p in zip(bottom, propagate_down, strict=True)
        ]
        c_diff, gate_diff = wanted[:2]
        if c_diff is None:
            c_diff = self.gpu_workspace("c diff", c_in.shape)
        if gate_diff is None:
            gate_diff = self.gpu_workspace("diff", gates.shape)
        runtime().copy(c_diff, top[0].gpu_diff[0])
        recurrent.lstm_backward(gates, marker, c_in, tanh_c, h_diff, None, None, c_diff, gate_diff)
