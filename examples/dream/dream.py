"""Let a network paint into a picture what it sees there: deep dreams.

    caffe-spn run examples/dream/dream.py --output dream.png
    caffe-spn run examples/dream/dream.py --channel 2 --output stripes.png
    caffe-spn run examples/dream/dream.py --guide chelsea --output guided.png

The picture climbs the gradient of a layer in the middle of the network, at several sizes, as in
the notebook of Mordvintsev, Olah and Tyka, "Inceptionism" (2015). A network of another origin is
used in the same way: --model and --weights name it, --end the layer.
"""

import argparse
import os
import tempfile

import caffe
import gabor_net
import numpy as np
import skimage.data
import skimage.io
import skimage.transform
from google.protobuf import text_format


def open_net(model_file, weights):
    """The net with `force_backward`, so that derivatives reach the data."""
    model = caffe.io.caffe_pb2.NetParameter()
    with open(model_file) as file:
        text_format.Merge(file.read(), model)
    model.force_backward = True
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "dream.prototxt")
        with open(path, "w") as file:
            file.write(str(model))
        net = caffe.Net(path, caffe.TEST, weights=weights)
    # Values from 0 to 255 in the picture; blue, green, red and no mean in the net.
    transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", (2, 1, 0))
    transformer.set_mean("data", np.array([104.0, 117.0, 123.0]))
    return net, transformer


def preprocess(transformer, image):
    """As the transformer does it, at whatever size the image has."""
    transformer.inputs["data"] = (1, 3, *image.shape[:2])
    return transformer.preprocess("data", image)


def objective_l2(dst):
    """Whatever the layer sees, more of it."""
    dst.diff[...] = dst.data


def objective_channel(channel):
    """More of what one channel sees."""

    def objective(dst):
        dst.diff[...] = 0
        dst.diff[0, channel] = dst.data[0, channel]

    return objective


def objective_guide(features):
    """At each place, what of another picture's features is most like what is seen there."""
    guide = features.reshape(features.shape[0], -1)

    def objective(dst):
        x = dst.data[0].reshape(len(guide), -1)
        best = (x.T @ guide).argmax(1)
        dst.diff[0].reshape(len(guide), -1)[...] = guide[:, best]

    return objective


def make_step(net, transformer, end, objective, rng, step_size=1.5, jitter=8):
    """One step of gradient ascent, with the picture shifted at random."""
    src, dst = net.blobs["data"], net.blobs[net.top_names[end][0]]
    shift = rng.randint(-jitter, jitter + 1, 2)
    src.data[0] = np.roll(src.data[0], shift, (1, 2))
    net.forward(end=end)
    objective(dst)
    net.backward(start=end)
    gradient = src.diff[0]
    src.data[0] += step_size / max(np.abs(gradient).mean(), 1e-12) * gradient
    src.data[0] = np.roll(src.data[0], -shift, (1, 2))
    mean = transformer.mean["data"]
    src.data[0] = np.clip(src.data[0], -mean, 255 - mean)


def dream(net, transformer, image, end, objective, iterations, octaves, scale=1.4, seed=0):
    """The picture after its steps at each size, from the smallest to its own."""
    rng = np.random.RandomState(seed)
    base = [preprocess(transformer, image)]
    for _ in range(octaves - 1):
        height, width = (int(size / scale) for size in base[-1].shape[1:])
        base.append(caffe.io.resize_image(base[-1].transpose(1, 2, 0), (height, width)))
        base[-1] = base[-1].transpose(2, 0, 1)
    src = net.blobs["data"]
    detail = np.zeros_like(base[-1])
    for octave in reversed(base):
        size = octave.shape[1:]
        if detail.shape[1:] != size:
            detail = caffe.io.resize_image(detail.transpose(1, 2, 0), size).transpose(2, 0, 1)
        src.reshape(1, 3, *size)
        src.data[0] = octave + detail
        for _ in range(iterations):
            make_step(net, transformer, end, objective, rng)
        detail = src.data[0] - octave
    transformer.inputs["data"] = src.data.shape
    return transformer.deprocess("data", src.data[0])


def features(net, transformer, image, end):
    """What the layer `end` makes of a picture, (C, H, W)."""
    values = preprocess(transformer, image)
    net.blobs["data"].reshape(1, *values.shape)
    net.blobs["data"].data[0] = values
    (blob,) = net.forward(end=end).values()
    return blob[0].copy()


def picture(name, side):
    """A picture of scikit-image's, from 0 to 255, with its shorter side as long as that."""
    image = getattr(skimage.data, name)()
    factor = side / min(image.shape[:2])
    size = [round(factor * length) for length in image.shape[:2]]
    return 255 * skimage.transform.resize(image, size, anti_aliasing=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="prototxt; by default a net of edges and textures")
    parser.add_argument("--weights")
    parser.add_argument("--end", default="texture_relu", help="the layer that dreams")
    parser.add_argument("--image", default="astronaut", help="of scikit-image's pictures")
    parser.add_argument("--side", type=int, default=128, help="its shorter side, in pixels")
    parser.add_argument("--channel", type=int, help="dream of one channel alone")
    parser.add_argument("--guide", help="dream of what is in this picture")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--octaves", type=int, default=3)
    parser.add_argument("--output", default="dream.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.model is None:
            options.model = os.path.join(folder, "gabor.prototxt")
            options.weights = os.path.join(folder, "gabor.caffemodel")
            with open(options.model, "w") as file:
                file.write(str(gabor_net.definition()))
            net = caffe.Net(options.model, caffe.TEST)
            gabor_net.fill(net)
            net.save(options.weights)
        net, transformer = open_net(options.model, options.weights)
    image = picture(options.image, options.side)
    objective = objective_l2
    if options.channel is not None:
        objective = objective_channel(options.channel)
    if options.guide:
        guide = picture(options.guide, options.side)
        objective = objective_guide(features(net, transformer, guide, options.end))
    before = features(net, transformer, image, options.end)
    dreamt = dream(
        net, transformer, image, options.end, objective, options.iterations, options.octaves
    )
    after = features(net, transformer, dreamt, options.end)
    for channel, (old, new) in enumerate(zip(before, after, strict=True)):
        print(f"channel {channel}: {old.mean():.3f} -> {new.mean():.3f}")
    skimage.io.imsave(options.output, np.clip(dreamt, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
