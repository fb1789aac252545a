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
    """One step for arrays (N, H).

    Parameters
    ----------
    c_prev : array (N, H)
    cont : array (N,)
    gates : array (N, 4H)
        The gate input; becomes i, f, o and g, which the backward pass needs.
    c_in, c, tanh_c, h : arrays (N, H)
        Receive cont c_prev, the cell, its tanh and the output.
    """
    size = c.shape[1]
    squashed = gates[:, : 3 * size]
    sigmoid(squashed, squashed)
    i, f, o, g = quarters(gates)
    np.tanh(g, out=g)
    np.multiply(c_prev, cont[:, None], out=c_in)
    np.multiply(f, c_in, out=c)
    np.multiply(i, g, out=h)
    c += h
    np.tanh(c, out=tanh_c)
    np.multiply(o, tanh_c, out=h)


def unit_backward(cont, gates, c_in, tanh_c, h_diff, c_diff, gate_diff, scratch):
    """The derivatives of `unit_forward`, from the arrays that it filled.

    Parameters
    ----------
    h_diff : array (N, H)
    c_diff : array (N, H)
        The derivative by c; becomes that by c_prev.
    gate_diff : array (N, 4H)
        Receives the derivative by the gate input.
    scratch : array (N, H)
    """
    size = c_diff.shape[1]
    i, f, o, g = quarters(gates)
    i_diff, f_diff, o_diff, g_diff = quarters(gate_diff)
    # c gets its derivative from h too.
    np.multiply(tanh_c, tanh_c, out=scratch)
    np.subtract(1, scratch, out=scratch)
    scratch *= o
    scratch *= h_diff
    c_diff += scratch
    # Slopes of the squashing functions, times what each gate is multiplied with, times above.
    slopes = gate_diff[:, : 3 * size]
    np.subtract(1, gates[:, : 3 * size], out=slopes)
    slopes *= gates[:, : 3 * size]
    np.multiply(g, g, out=g_diff)
    np.subtract(1, g_diff, out=g_diff)
    for diff, factor, above in (
        (i_diff, g, c_diff),
        (f_diff, c_in, c_diff),
        (o_diff, tanh_c, h_diff),
        (g_diff, i, c_diff),
    ):
        diff *= factor
        diff *= above
    c_diff *= f
    c_diff *= cont[:, None]


def quarters(gates):
    """Views of i, f, o and g in an array (N, 4H)."""
    size = gates.shape[1] // 4
    return [gates[:, k * size : (k + 1) * size] for k in range(4)]


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

        layer { name: "u" type: "LSTMUnit" bottom: "c0" bottom: "gates" bottom: "cont"
                top: "c1" top: "h1" }
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
        gates = self.workspace("gates", bottom[1].shape[1:])
        return gates, self.workspace("c_in", shape), self.workspace("tanh_c", shape)

    def forward_cpu(self, bottom, top):
        c_prev, gate_input, cont = (blob.data[0] for blob in bottom)
        c, h = (blob.data[0] for blob in top)
        gates, c_in, tanh_c = self._kept(bottom)
        gates[...] = gate_input
        unit_forward(c_prev, cont, gates, c_in, c, tanh_c, h)

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[2]:
            raise no_marker_gradient(self, 2)
        if not any(propagate_down):
            return
        gates, c_in, tanh_c = self._kept(bottom)
        diffs = [
            blob.diff[0] if wanted else self.workspace(f"diff {i}", blob.shape[1:])
            for i, (blob, wanted) in enumerate(zip(bottom[:2], propagate_down, strict=False))
        ]
        diffs[0][...] = top[0].diff[0]
        scratch = self.workspace("scratch", c_in.shape)
        cont, h_diff = bottom[2].data[0], top[1].diff[0]
        unit_backward(cont, gates, c_in, tanh_c, h_diff, *diffs, scratch)
