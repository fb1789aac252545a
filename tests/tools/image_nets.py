"""A network for classify, detect and extract_features, in files: it measures colours."""

import caffe_spn as caffe

DEPLOY = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 4 dim: 3 dim: 32 dim: 32 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean"
  pooling_param { pool: AVE global_pooling: true } }
"""


def write_net(folder, definition=DEPLOY):
    """Write deploy.prototxt and net.caffemodel; returns the options that name them."""
    (folder / "deploy.prototxt").write_text(definition)
    caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST).save(str(folder / "net.caffemodel"))
    return ["--model_def", "deploy.prototxt", "--pretrained_model", "net.caffemodel"]
