"""RNN: the plain recurrent layer over T time steps.

Source: `RNNLayer` of BVLC Caffe; J. Elman, "Finding structure in time", 1990.
"""

import numpy as np

from caffe_spn.cpu.matmul import matmul
from caffe_spn.cpu.recurrent_step import step_input, step_input_back
from caffe_spn.layer import register
from caffe_spn.layers.recurrent import STATIC, Recurrent


@register("RNN", bottoms=("x", "cont", "x_static?", "h_0?"), tops=("o", "h_T?"), in_place=False)
class RNN(Recurrent):
    """h[t] = tanh(W_xh x[t] + b_h + W_hh (cont[t] h[t-1])),  o[t] = tanh(W_ho h[t] + b_o)

    Parameters (`recurrent_param`)
    ------------------------------
    num_output : int, default 0
        H, the size of the state and of the output; 0 is refused.
    weight_filler, bias_filler : FillerParameter, default constant 0
        What weights and biases start from.
    expose_hidden : bool, default False
        Take the first state as one more bottom and give the last one as one more top; the layer
        then carries nothing over from one forward pass to the next.
    debug_info : bool, default False
        Log the mean absolute value of each step's h and o, and of the diff of the sum in h, in
        every pass.

    Bottoms
    -------
    x : (T, N, ...)
        T time steps of N independent streams; the other axes are joined to one vector.
    cont : (T, N)
        0 where a sequence begins, so that the state before it counts as 0; otherwise 1. It gets
        no gradient.
    x_static : (N, ...), optional
        An input that is the same at every step; W_xh_static x_static is added to the sum in h.
    h_0 : (1, N, H), only with `expose_hidden`

    Tops
    ----
    o : (T, N, H)
    h_T : (1, N, H), only with `expose_hidden`

    Blobs
    -----
    W_xh : (H, inputs)
    b_h : (H,)
    W_xh_static : (H, static inputs), only with `x_static`
    W_hh, W_ho : (H, H)
    b_o : (H,)

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
    and the exposed state takes part in the backward pass (Caffe ignores the diff of h_T and writes
    none for h_0; `propagate_down` cuts the latter off).

    Examples
    --------
    ::

        layer { name: "rnn" type: "RNN" bottom: "x" bottom: "cont" top: "o"
                recurrent_param { num_output: 64 weight_filler { type: "xavier" } } }
    """

    gates = 1
    state_names = ("h",)

    def output_params(self):
        param = self.layer_param.recurrent_param
        return [
            ((self.outputs, self.outputs), param.weight_filler),
            ((self.outputs,), param.bias_filler),
        ]

    @property
    def first_output_param(self) -> int:
        return STATIC + self.static + 1

    def run_steps(self, sums, cont):
        h, h_in, weights = self.trace("h"), self.for_steps("h_in"), self.recurrent_weights
        for t in range(self.steps):
            step_input(weights, h[t], cont[t], h_in[t], sums[t])
            np.tanh(sums[t], out=h[t + 1])
        out_weights, bias = self.blobs[self.first_output_param :]
        out = self._rows_of("out")
        matmul(self.rows("h", h[1:]), out_weights.data, out, transpose_b=True)
        out += bias.data
        np.tanh(out, out=out)
        return out.reshape(self.steps, self.streams, self.outputs)

    def _rows_of(self, name):
        """Values of the output's part: one row for each step and stream."""
        return self.workspace(name, (self.steps * self.streams, self.outputs))

    def run_steps_back(self, top_diff, cont, sums_diff, state_diffs):
        h, (h_diff,) = self.trace("h"), state_diffs
        from_out, transposed = self._output_back(top_diff, h), self.transposed_weights()
        for t in reversed(range(self.steps)):
            h_diff += from_out[t].T
            np.multiply(h[t + 1], h[t + 1], out=sums_diff[t])
            np.subtract(1, sums_diff[t], out=sums_diff[t])
            sums_diff[t] *= h_diff
            step_input_back(transposed, cont[t], sums_diff[t], h_diff)

    def _output_back(self, top_diff, h):
        """Learn the output's parameters; the diff of h of all steps, as far as o causes it."""
        out, out_diff = self._rows_of("out"), self._rows_of("out diff")
        np.multiply(out, out, out=out_diff)
        np.subtract(1, out_diff, out=out_diff)
        out_diff *= top_diff.reshape(out_diff.shape)
        index = self.first_output_param
        self.add_product(index, out_diff, self.rows("h", h[1:]))
        if self.param_propagate_down[index + 1]:
            self.blobs[index + 1].diff[...] += out_diff.sum(axis=0)
        from_out = self._rows_of("h diff from out")
        matmul(out_diff, self.blobs[index].data, from_out)
        return from_out.reshape(top_diff.shape)

    def run_steps_gpu(self, steps, out):
        from caffe_spn.cuda import pointwise, recurrent
        from caffe_spn.layers.recurrent_gpu_steps import add_to_rows, copy, matrix, multiply

        h, rows = steps.trace("h"), matrix(out, 2)
        for t in range(self.steps):
            steps.add_state(t)
            recurrent.rnn_forward(steps.sums[t], h[t + 1], *steps.next_input(t))
        weights, bias = map(steps.values, (self.first_output_param, self.first_output_param + 1))
        multiply(matrix(steps.after("h"), 2), weights, rows, transpose_b=True)
        add_to_rows(rows, bias)
        pointwise.forward("tanh", out, out)
        # The net may write over its top; the backward pass needs it.
        copy(steps.for_steps("out"), out)

    def run_steps_back_gpu(self, steps, top_diff, sums_diff, state_diffs):
        from caffe_spn.cuda import pointwise, recurrent
        from caffe_spn.layers.recurrent_gpu_steps import matrix, multiply

        h, (h_diff,) = steps.trace("h"), state_diffs
        out, out_diff = steps.for_steps("out"), steps.for_steps("out diff")
        pointwise.backward("tanh", out, out, top_diff, out_diff)
        index, rows = self.first_output_param, matrix(out_diff, 2)
        steps.add_product(index, rows, matrix(steps.after("h"), 2))
        steps.add_sums(index + 1, rows)
        from_out = steps.for_steps("h diff from out")
        multiply(rows, steps.values(index), matrix(from_out, 2))
        for t in reversed(range(self.steps)):
            above = from_out[t], steps.next_marker(t), h_diff
            recurrent.rnn_backward(h[t + 1], *above, sums_diff[t])
            steps.take_state(t, sums_diff, h_diff)

    def debug_forward(self):
        out = self._rows_of("out").reshape(self.steps, -1)
        return [("h_neuron", "h", self.trace("h")[1:]), ("o_neuron", "o", out)]
