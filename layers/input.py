"""Input: blobs that the caller fills.

Source: `InputLayer` of BVLC Caffe.
"""

from caffe_spn.layer import Layer, register


@register("Input", bottoms=(), tops=("data+",))
class Input(Layer):
    """Gives its tops a shape and leaves their content to the caller.

    Parameters
    ----------
    shape : BlobShape, none, one, or one for each top
        Without any, the caller reshapes the blobs before the first forward pass.

    Tops
    ----
    data+ : as stated
        A shape that the caller gives later with ``blob.reshape`` stays.

    Raises
    ------
    PrototxtError
        If the number of shapes fits neither all tops nor each.

    Examples
    --------
    ::

        layer {
          name: "image" type: "Input" top: "image"
          input_param { shape { dim: 1 dim: 3 dim: 224 dim: 224 } }
        }
    """

    def setup(self, bottom, top):
        shapes = self.layer_param.input_param.shape
        if len(shapes) not in (0, 1, len(top)):
            raise self.param_error(
                f"has {len(shapes)} shapes for {len(top)} tops",
                help="state 'shape' once for all tops, once for each, or not at all",
            )
        for i, blob in enumerate(top if shapes else ()):
            blob.reshape(*shapes[i if len(shapes) > 1 else 0].dim)

    def forward_cpu(self, bottom, top):
        pass

    def backward_cpu(self, top, propagate_down, bottom):
        pass

    def forward_gpu(self, bottom, top):
        pass

    def backward_gpu(self, top, propagate_down, bottom):
        pass
