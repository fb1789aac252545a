"""Embed: a learned vector for each integer.

Source: `EmbedLayer` of BVLC Caffe.
"""

from caffe_spn.layer import Layer, register
from caffe_spn.layers.indices import add_rows, on_device, read_indices, refuse_gradient, take_rows


@register("Embed", bottoms=("index",), in_place=False)
class Embed(Layer):
    """top[..., :] = weights[index[...], :] + bias

    The same as an InnerProduct of one-hot vectors, without the multiplications by 0.

    Parameters
    ----------
    input_dim : int
        How many integers there are; the index goes from 0 to `input_dim` - 1.
    num_output : int
        The length of a vector.
    bias_term : bool, default True
        Whether a number for each output is learned and added.
    weight_filler, bias_filler : FillerParameter, default constant 0
        What weights and biases start from.

    Bottoms, tops
    -------------
    index : any shape
        Integers; fractions are cut off. There is no gradient for it.
    top : the shape of `index`, then `num_output`

    Blobs
    -----
    weights : (input_dim, num_output)
    bias : (num_output,), with `bias_term`

    Raises
    ------
    PrototxtError
        If input_dim or num_output is missing.
    ShapeError
        If given blobs have other shapes than the parameters ask for.
    DataError
        If an index is negative, not a number, or `input_dim` or more.

    Examples
    --------
    Vectors of 64 numbers for a vocabulary of 8000 words::

        layer {
          name: "embed" type: "Embed" bottom: "words" top: "vectors"
          embed_param {
            input_dim: 8000 num_output: 64 weight_filler { type: "uniform" min: -0.1 max: 0.1 }
          }
        }
    """

    no_backward_bottoms = (0,)

    def setup(self, bottom, top):
        param = self.layer_param.embed_param
        self.inputs, self.outputs = param.input_dim, param.num_output
        for name, number in (("num_output", self.outputs), ("input_dim", self.inputs)):
            if number < 1:
                raise self.param_error(f"has {name} 0; it must be positive", help=f"state {name}")
        self.has_bias = param.bias_term
        shapes = [(self.inputs, self.outputs), (self.outputs,)][: 1 + self.has_bias]
        if not self.blobs:
            for shape, filler in zip(
                shapes, (param.weight_filler, param.bias_filler), strict=False
            ):
                self.add_param(shape, filler)
        elif [blob.shape for blob in self.blobs] != shapes:
            raise self.shape_error(
                f"was given blobs of shapes {[blob.shape for blob in self.blobs]}; its parameters"
                f" ask for {shapes}",
                help="compare input_dim, num_output and bias_term",
            )

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape, self.outputs)

    def forward_cpu(self, bottom, top):
        self.indices = read_indices(self, bottom[0], 0, self.inputs, "the layer's input_dim")
        y = top[0].data.reshape(-1, self.outputs)
        take_rows(self.blobs[0].data, self.indices, y)
        if self.has_bias:
            y += self.blobs[1].data

    def backward_cpu(self, top, propagate_down, bottom):
        refuse_gradient(self, propagate_down, 0, "indices")
        top_diff = top[0].diff.reshape(-1, self.outputs)
        if self.param_propagate_down[0]:
            add_rows(top_diff, self.indices, self.blobs[0].diff)
        if self.has_bias and self.param_propagate_down[1]:
            self.blobs[1].diff[...] += top_diff.sum(axis=0)

    # The indices are read on the host, also by the GPU path: only there one without a row can be
    # refused before it does harm.

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import rows, scale

        self.indices = read_indices(self, bottom[0], 0, self.inputs, "the layer's input_dim")
        y = top[0].new_gpu_data.reshaped(self.indices.size, self.outputs)
        rows.take_rows(self.blobs[0].gpu_data, on_device(self, "indices", self.indices), y)
        if self.has_bias:
            scale.scale(y, y, (*y.shape, 1), summands=self.blobs[1].gpu_data)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import rows, scale

        refuse_gradient(self, propagate_down, 0, "indices")
        top_diff = top[0].gpu_diff.reshaped(self.indices.size, self.outputs)
        if self.param_propagate_down[0]:
            plan, differing = rows.groups(self.indices)
            plan = on_device(self, "plan", plan)
            rows.add_rows(top_diff, plan, differing, self.blobs[0].mutable_gpu_diff)
        if self.has_bias and self.param_propagate_down[1]:
            dims, diff = (*top_diff.shape, 1), self.blobs[1].mutable_gpu_diff
            scale.summand_gradient(top_diff, dims, diff, accumulate=True)
