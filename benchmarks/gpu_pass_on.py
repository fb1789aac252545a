"""A layer that stands for a propagation that is left out, to time the rest of a network."""

from __future__ import annotations

from caffe_spn.layer import Layer, register


@register("PassOn", bottoms=("x", "guidance"), tops=("y",), in_place=False)
class PassOn(Layer):
    """y = x; the guidance gets zeros, which take the rest of the network as long as others."""

    def reshape(self, bottom, top):
        top[0].reshape_like(bottom[0])

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda.runtime import runtime

        runtime().copy(top[0].new_gpu_data, bottom[0].gpu_data)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda.runtime import runtime

        runtime().copy(bottom[0].new_gpu_diff, top[0].gpu_diff)
        runtime().zero(bottom[1].new_gpu_diff)


def left_out(net):
    """The network with `PassOn` in the place of its propagation."""
    for layer in net.layer:
        if layer.type == "SpatialPropagation":
            layer.ClearField("spatial_propagation_param")
            layer.type = "PassOn"
    return net
