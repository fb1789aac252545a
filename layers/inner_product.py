"""InnerProduct: a fully connected layer.

    top = bottom weights' + bias      (weights' transposed; not so with `transpose`)

Source: `InnerProductLayer` of BVLC Caffe.
"""

import math

from caffe_spn.cpu.matmul import matmul
from caffe_spn.layer import Layer, register


@register("InnerProduct", in_place=False)
class InnerProduct(Layer):
    """Every output sees all elements of the axes from `axis` on.

    Parameters
    ----------
    num_output : int
        How many outputs there are.
    axis : int, default 1
        The axes from here on are joined to one vector; may count from the back.
    bias_term : bool, default True
        Whether a number for each output is learned and added.
    transpose : bool, default False
        Store the weights as (inputs, num_output).
    weight_filler, bias_filler : FillerParameter, default constant 0
        What weights and biases start from.

    Bottoms, tops
    -------------
    bottom : any shape; the product of the axes from `axis` on is the number of inputs
    top : the bottom's axes before `axis`, then num_output

    Blobs
    -----
    weights : (num_output, inputs), or (inputs, num_output) with `transpose`
    bias : (num_output,), with `bias_term`

    Raises
    ------
    PrototxtError
        If num_output is missing.
    ShapeError
        If the number of inputs is not the one that the weights were made for.

    Examples
    --------
    ::

        layer {
          name: "fc6" type: "InnerProduct" bottom: "pool5" top: "fc6"
          inner_product_param { num_output: 100 weight_filler { type: "xavier" } }
        }
    """

    def setup(self, bottom, top):
        param = self.layer_param.inner_product_param
        self.outputs, self.transpose = param.num_output, param.transpose
        self.has_bias = param.bias_term
        if self.outputs < 1:
            raise self.param_error("has num_output 0; it must be positive", help="state num_output")
        self.inputs = math.prod(bottom[0].shape[self.axis(bottom[0], param.axis) :])
        shape = (self.outputs, self.inputs)
        shapes = [shape[::-1] if self.transpose else shape]
        if self.has_bias:
            shapes.append((self.outputs,))
        if not self.blobs:
            for blob_shape, filler in zip(
                shapes, (param.weight_filler, param.bias_filler), strict=False
            ):
                self.add_param(blob_shape, filler)
        elif [blob.shape for blob in self.blobs] != shapes:
            raise self.shape_error(
                f"was given blobs of shapes {[blob.shape for blob in self.blobs]}; its parameters"
                f" ask for {shapes}",
                help="compare num_output, transpose and bias_term",
            )

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        axis = self.axis(bottom[0], self.layer_param.inner_product_param.axis)
        inputs = math.prod(shape[axis:])
        if inputs != self.inputs:
            raise self.shape_error(
                f"bottom is {shape}, which has {inputs} inputs from axis {axis} on; the weights"
                f" were made for {self.inputs}",
                help="a fully connected layer needs a fixed input size; pool globally before it,"
                " or use Convolution",
            )
        self.rows = math.prod(shape[:axis])
        top[0].reshape(*shape[:axis], self.outputs)

    def forward_cpu(self, bottom, top):
        x = bottom[0].data.reshape(self.rows, self.inputs)
        y = top[0].data.reshape(self.rows, self.outputs)
        matmul(x, self.blobs[0].data, y, transpose_b=not self.transpose)
        if self.has_bias:
            y += self.blobs[1].data

    def backward_cpu(self, top, propagate_down, bottom):
        x = bottom[0].data.reshape(self.rows, self.inputs)
        top_diff = top[0].diff.reshape(self.rows, self.outputs)
        if self.param_propagate_down[0]:
            pair = (x, top_diff) if self.transpose else (top_diff, x)
            matmul(*pair, self.blobs[0].diff, transpose_a=True, add=True)
        if self.has_bias and self.param_propagate_down[1]:
            self.blobs[1].diff[...] += top_diff.sum(axis=0)
        if propagate_down[0]:
            bottom_diff = bottom[0].diff.reshape(self.rows, self.inputs)
            matmul(top_diff, self.blobs[0].data, bottom_diff, transpose_b=self.transpose)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import scale
        from caffe_spn.cuda.gemm import gemm

        x = bottom[0].gpu_data.reshaped(self.rows, self.inputs)
        y = top[0].new_gpu_data.reshaped(self.rows, self.outputs)
        gemm(False, not self.transpose, 1.0, x, self.blobs[0].gpu_data, 0.0, y)
        if self.has_bias:
            bias = self.blobs[1].gpu_data
            scale.scale(y, y, (self.rows, self.outputs, 1), summands=bias)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import scale
        from caffe_spn.cuda.gemm import gemm

        x = bottom[0].gpu_data.reshaped(self.rows, self.inputs)
        top_diff = top[0].gpu_diff.reshaped(self.rows, self.outputs)
        if self.param_propagate_down[0]:
            pair = (x, top_diff) if self.transpose else (top_diff, x)
            gemm(True, False, 1.0, *pair, 1.0, self.blobs[0].mutable_gpu_diff)
        if self.has_bias and self.param_propagate_down[1]:
            dims, diff = (self.rows, self.outputs, 1), self.blobs[1].mutable_gpu_diff
            scale.summand_gradient(top_diff, dims, diff, accumulate=True)
        if propagate_down[0]:
            bottom_diff = bottom[0].new_gpu_diff.reshaped(self.rows, self.inputs)
            weights = self.blobs[0].gpu_data
            gemm(False, self.transpose, 1.0, top_diff, weights, 0.0, bottom_diff)
