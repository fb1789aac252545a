"""The same network in PyTorch, built from the same NetParameter: the peer of a training step."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caffe_spn.proto import caffe_pb2


class TorchNet(torch.nn.Module):
    """Runs the layers of a caffe_spn Net with PyTorch's operators and the same weights.

    Parameters
    ----------
    net : Net
        Its definition and its parameters, which are copied.
    propagation : callable, optional
        From (parameters, x, guidance) to the refined map, for SpatialPropagation layers.
    """

    def __init__(self, net, propagation=None):
        super().__init__()
        self.propagation = propagation
        self.definitions = list(net.layer_params)
        self.weights = torch.nn.ParameterDict()
        for index, layer in enumerate(net.layers):
            trained = any(layer.param_propagate_down)
            for k, blob in enumerate(layer.blobs):
                self.weights[f"{index}_{k}"] = torch.nn.Parameter(
                    torch.tensor(blob.data.copy()),
                    requires_grad=trained and layer.type != "BatchNorm",
                )

    def forward(self, **inputs) -> torch.Tensor:
        """The loss for the given input blobs."""
        return self.run(**inputs)[1]

    def run(self, **inputs) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """All blobs by name, and the loss, for the given input blobs."""
        blobs = dict(inputs)
        loss = 0
        for index, layer in enumerate(self.definitions):
            if all(top in blobs and not layer.bottom for top in layer.top):
                continue
            bottoms = [blobs[name] for name in layer.bottom]
            run = getattr(self, "_" + layer.type)
            outputs = run(layer, [self.weights.get(f"{index}_{k}") for k in range(3)], *bottoms)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            blobs.update(zip(layer.top, outputs, strict=False))
            if layer.type == "SoftmaxWithLoss":
                loss = loss + outputs[0]
        return blobs, loss

    def _Convolution(self, layer, weights, x):
        p = layer.convolution_param
        stride, pad = _first(p.stride, 1), _first(p.pad, 0)
        return F.conv2d(x, weights[0], weights[1], stride, pad, _first(p.dilation, 1), p.group)

    def _Deconvolution(self, layer, weights, x):
        p = layer.convolution_param
        stride, pad = _first(p.stride, 1), _first(p.pad, 0)
        return F.conv_transpose2d(x, weights[0], weights[1], stride, pad, groups=p.group)

    def _Pooling(self, layer, weights, x):
        p = layer.pooling_param
        return F.max_pool2d(x, p.kernel_size, p.stride, p.pad, ceil_mode=True)

    def _ReLU(self, layer, weights, x):
        return F.relu(x)

    def _ELU(self, layer, weights, x):
        return F.elu(x, layer.elu_param.alpha)

    def _Power(self, layer, weights, x):
        p = layer.power_param
        return p.shift + p.scale * x

    def _BatchNorm(self, layer, weights, x):
        return F.batch_norm(x, None, None, training=True, eps=layer.batch_norm_param.eps)

    def _Scale(self, layer, weights, x):
        scale, bias = weights[0], weights[1]
        y = x * scale[:, None, None]
        return y if bias is None else y + bias[:, None, None]

    def _Eltwise(self, layer, weights, *xs):
        operation = layer.eltwise_param.operation
        reduce = {
            caffe_pb2.EltwiseParameter.SUM: torch.add,
            caffe_pb2.EltwiseParameter.MAX: torch.maximum,
            caffe_pb2.EltwiseParameter.PROD: torch.mul,
        }[operation]
        out = xs[0]
        for x in xs[1:]:
            out = reduce(out, x)
        return out

    def _Concat(self, layer, weights, *xs):
        return torch.cat(xs, layer.concat_param.axis)

    def _Split(self, layer, weights, x):
        return (x,) * len(layer.top)

    def _Silence(self, layer, weights, *xs):
        return ()

    def _SpatialPropagation(self, layer, weights, x, guidance):
        return self.propagation(layer.spatial_propagation_param, x, guidance)

    def _Python(self, layer, weights, x, guidance):
        # The stand-in for a propagation that is left out. Every gate gets a gradient, so that
        # the guidance network works as hard.
        return x + 1e-6 * guidance.reshape(x.shape[0], -1, *x.shape[1:]).sum(1)

    def _Softmax(self, layer, weights, x):
        return F.softmax(x, layer.softmax_param.axis)

    def _SoftmaxWithLoss(self, layer, weights, scores, label):
        target = label.reshape(label.shape[0], *scores.shape[2:]).long()
        total = F.cross_entropy(scores, target, ignore_index=255, reduction="sum")
        return total / scores.shape[0]

    def _Accuracy(self, layer, weights, scores, label):
        return ()


def _first(values, default: int) -> int:
    return values[0] if len(values) else default
