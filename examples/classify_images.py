"""Name what is in pictures, with a trained classifier: a script for pycaffe.

    caffe-spn run examples/classify_images.py deploy.prototxt net.caffemodel words.txt \\
        cat.jpg dog.jpg --mean mean.binaryproto

It knows nothing of caffe_spn: under BVLC Caffe, `python classify_images.py ...` does the same.
"""

import argparse

import caffe
import numpy as np


def read_mean(path):
    """The mean of each channel, from a mean image as compute_image_mean writes it."""
    blob = caffe.proto.caffe_pb2.BlobProto()
    with open(path, "rb") as file:
        blob.ParseFromString(file.read())
    return caffe.io.blobproto_to_array(blob)[0].mean(axis=(1, 2))


def main():
    parser = argparse.ArgumentParser(description="Name what is in pictures.")
    parser.add_argument("model", help="deploy.prototxt")
    parser.add_argument("weights", help="the .caffemodel")
    parser.add_argument("words", help="a text file with the name of a class on each line")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--mean", help="a .binaryproto")
    parser.add_argument("--size", type=int, default=256, help="of the images before cropping")
    parser.add_argument("--top", type=int, default=5, help="how many classes to name")
    args = parser.parse_args()

    caffe.set_mode_cpu()
    classifier = caffe.Classifier(
        args.model,
        args.weights,
        image_dims=(args.size, args.size),
        mean=read_mean(args.mean) if args.mean else None,
        raw_scale=255,
        channel_swap=(2, 1, 0),
    )
    with open(args.words) as file:
        words = file.read().splitlines()
    images = [caffe.io.load_image(path) for path in args.images]
    for number, probabilities in enumerate(classifier.predict(images)):
        print(args.images[number])
        for k in np.argsort(-probabilities)[: args.top]:
            print("  %.3f %s" % (probabilities[k], words[k]))  # noqa: UP031 (old Pythons run it)


if __name__ == "__main__":
    main()
