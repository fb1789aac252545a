"""The networks: a classifier of patches, and what it becomes when it slides over an image."""

import json

import caffe
from caffe import layers as L
from caffe import params as P
from caffe.coord_map import crop

PATCH = 20
# Enough that scores cover the image to its edges.
PAD = 24


def conv_relu(bottom, nout, ks, pad):
    conv = L.Convolution(
        bottom, kernel_size=ks, num_output=nout, pad=pad, weight_filler=dict(type="msra")
    )
    return conv, L.ReLU(conv, in_place=True)


def features(n, pad):
    """Two convolutions with pooling over n.data; a patch becomes a map of 5 x 5."""
    n.conv1, n.relu1 = conv_relu(n.data, nout=8, ks=5, pad=pad)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.conv2, n.relu2 = conv_relu(n.pool1, nout=12, ks=3, pad=1)
    n.pool2 = L.Pooling(n.relu2, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    return n.pool2


def classifier(batch_size):
    """Patches from memory to the two classes."""
    n = caffe.NetSpec()
    n.data, n.label = L.MemoryData(
        batch_size=batch_size, channels=1, height=PATCH, width=PATCH, ntop=2
    )
    n.fc3 = L.InnerProduct(features(n, pad=2), num_output=16, weight_filler=dict(type="msra"))
    n.relu3 = L.ReLU(n.fc3, in_place=True)
    n.score = L.InnerProduct(n.relu3, num_output=2, weight_filler=dict(type="msra"))
    n.loss = L.SoftmaxWithLoss(n.score, n.label)
    n.accuracy = L.Accuracy(n.score, n.label)
    return n.to_proto()


def fcn(**data):
    """Tiles from the Python layer, with these parameters, to the classes of their pixels."""
    n = caffe.NetSpec()
    n.data, n.label = L.Python(
        module="coin_layers", layer="CoinTiles", ntop=2, param_str=json.dumps(data)
    )
    bottom = features(n, pad=PAD)
    n.fc3_conv = L.Convolution(bottom, num_output=16, kernel_size=5)
    n.relu3 = L.ReLU(n.fc3_conv, in_place=True)
    n.score_conv = L.Convolution(n.relu3, num_output=2, kernel_size=1)
    n.upscore = L.Deconvolution(
        n.score_conv,
        convolution_param=dict(num_output=2, kernel_size=8, stride=4, bias_term=False),
        param=[dict(lr_mult=0)],
    )
    n.score = crop(n.upscore, n.data)
    n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param=dict(ignore_label=255))
    return n.to_proto()
