"""Parameter: a learned array as a top, for layers that take their weights as a bottom.

Source: `ParameterLayer` of BVLC Caffe.
"""

from caffe_spn.layer import Layer, register


@register("Parameter", bottoms=(), tops=("parameter",))
class Parameter(Layer):
    """top = the layer's one parameter, in the same memory

    Parameters (`parameter_param`)
    ------------------------------
    shape : BlobShape
        Of the parameter. It starts from zeros; weights are loaded as for any layer.

    Tops
    ----
    parameter : of that shape
        Its diff is the parameter's, so that what the consumer writes there is the gradient.
        As in Caffe it is overwritten, not added to: with `iter_size` above 1 only the last
        batch counts.

    Examples
    --------
    ::

        layer {
          name: "weights" type: "Parameter" top: "weights" param { lr_mult: 1 }
          parameter_param { shape { dim: 3 dim: 5 } }
        }
    """

    def setup(self, bottom, top):
        if not self.blobs:
            self.add_param(tuple(self.layer_param.parameter_param.shape.dim))
        self.reshape(bottom, top)

    def reshape(self, bottom, top):
        top[0].reshape(*self.blobs[0].shape)
        top[0].share_data(self.blobs[0])
        top[0].share_diff(self.blobs[0])

    def forward_cpu(self, bottom, top):
        pass  # the top is the parameter

    def backward_cpu(self, top, propagate_down, bottom):
        pass  # the consumer has written the diff

    def forward_gpu(self, bottom, top):
        pass

    def backward_gpu(self, top, propagate_down, bottom):
        pass
