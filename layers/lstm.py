"""LSTM: a layer of long short-term memory cells over T time steps.

Source: `LSTMLayer` of BVLC Caffe; S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997,
in the form of W. Zaremba and I. Sutskever, "Learning to execute", 2014.
"""

from caffe_spn.cpu.recurrent_step import step_input, step_input_back
from caffe_spn.layer import register
from caffe_spn.layers.lstm_unit import unit_backward, unit_forward
from caffe_spn.layers.recurrent import Recurrent


@register(
    "LSTM",
    bottoms=("x", "cont", "x_static?", "h_0?", "c_0?"),
    tops=("h", "h_T?", "c_T?"),
    in_place=False,
)
class LSTM(Recurrent):
    """i, f, o, g = sigmoid, sigmoid, sigmoid, tanh of (W_xc x[t] + b_c + W_hc (cont[t] h[t-1]))

    Then the cell is ``c[t] = f (cont[t] c[t-1]) + i g`` and the output ``h[t] = o tanh(c[t])``.

    Parameters (`recurrent_param`)
    ------------------------------
    num_output : int, default 0
        H, the size of the state and of the output; 0 is refused.
    weight_filler, bias_filler : FillerParameter, default constant 0
        What weights and biases start from.
    expose_hidden : bool, default False
        Take the first states as two more bottoms and give the last ones as two more tops; the
        layer then carries nothing over from one forward pass to the next.
    debug_info : bool, default False
        Log the mean absolute value of each step's c and h, and of the gates' diffs, in every pass.

    Bottoms
    -------
    x : (T, N, ...)
        T time steps of N independent streams; the other axes are joined to one vector.
    cont : (T, N)
        0 where a sequence begins, so that the state before it counts as 0; otherwise 1. It gets
        no gradient.
    x_static : (N, ...), optional
        An input that is the same at every step; W_xc_static x_static is added to the gates' sum.
    h_0, c_0 : (1, N, H), only with `expose_hidden`

    Tops
    ----
    h : (T, N, H)
    h_T, c_T : (1, N, H), only with `expose_hidden`

    Blobs
    -----
    W_xc : (4H, inputs)
        The rows of the gates i, f, o and g, in this order; so in all blobs.
    b_c : (4H,)
    W_xc_static : (4H, static inputs), only with `x_static`
    W_hc : (4H, H)

    Raises
    ------
    PrototxtError
        If num_output is missing, the numbers of bottoms and tops do not suit `expose_hidden`, or
        a gradient of `cont` is asked for.
    ShapeError
        If a bottom does not have its shape, or the inputs' size is not that of the weights.

    Notes
    -----
    Without `expose_hidden` the state after the last step is where the next forward pass begins, in
    training and in testing, unless `cont` is 0 there. It begins at zero, `reset` sets it to zero,
    and a solver's snapshot keeps it. No gradient goes from one pass into the one before. When N
    shrinks the first streams go on; N beyond the largest so far begins at zero.

    Two things that Caffe refuses or leaves out work here: T may change when the net is reshaped,
    and exposed states take part in the backward pass (Caffe ignores the diffs of h_T and c_T and
    writes none for h_0 and c_0; `propagate_down` cuts the latter off).

    Examples
    --------
    ::

        layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
                recurrent_param { num_output: 256 weight_filler { type: "xavier" } } }
    """

    gates = 4
    state_names = ("h", "c")

    def run_steps(self, sums, cont):
        h, c = self.trace("h"), self.trace("c")
        gates, c_in, tanh_c = self._kept(sums)
        h_in, weights = self.for_steps("h_in"), self.recurrent_weights
        for t in range(self.steps):
            step_input(weights, h[t], cont[t], h_in[t], sums[t])
            unit_forward(c[t], cont[t], gates[t], c_in[t], c[t + 1], tanh_c[t], h[t + 1])
        return h[1:].transpose(0, 2, 1)

    def _kept(self, sums):
        """What forward leaves for backward: the gates (in place of the sums), c_in and tanh(c)."""
        return self._by_gate(sums), self.for_steps("c_in"), self.for_steps("tanh_c")

    def _by_gate(self, sums):
        return sums.reshape(self.steps, 4, self.outputs, self.streams)

    def run_steps_back(self, top_diff, cont, sums_diff, state_diffs):
        gates, c_in, tanh_c = self._kept(self.for_steps("sums", self.gates))
        gate_diff = self._by_gate(sums_diff)
        h_diff, c_diff = state_diffs
        scratch, transposed = self.workspace("scratch", h_diff.shape), self.transposed_weights()
        for t in reversed(range(self.steps)):
            h_diff += top_diff[t].T
            unit_backward(
                cont[t], gates[t], c_in[t], tanh_c[t], h_diff, c_diff, gate_diff[t], scratch
            )
            step_input_back(transposed, cont[t], sums_diff[t], h_diff)

    def run_steps_gpu(self, steps, out):
        from caffe_spn.cuda import recurrent
        from caffe_spn.layers.recurrent_gpu_steps import copy

        h, c = steps.trace("h"), steps.trace("c")
        c_in, tanh_c = steps.for_steps("c_in"), steps.for_steps("tanh_c")
        for t in range(self.steps):
            steps.add_state(t)
            after = c_in[t], c[t + 1], tanh_c[t], h[t + 1], *steps.next_input(t)
            recurrent.lstm_forward(steps.sums[t], steps.marker[t], c[t], *after)
        copy(out, steps.after("h"))

    def run_steps_back_gpu(self, steps, top_diff, sums_diff, state_diffs):
        from caffe_spn.cuda import recurrent

        c_in, tanh_c = steps.for_steps("c_in"), steps.for_steps("tanh_c")
        h_diff, c_diff = state_diffs
        for t in reversed(range(self.steps)):
            kept = steps.sums[t], steps.marker[t], c_in[t], tanh_c[t]
            above = top_diff[t], steps.next_marker(t), h_diff, c_diff
            recurrent.lstm_backward(*kept, *above, sums_diff[t])
            steps.take_state(t, sums_diff, h_diff)

    def debug_forward(self):
        return [("unit", "c", self.trace("c")[1:]), ("unit", "h", self.trace("h")[1:])]
