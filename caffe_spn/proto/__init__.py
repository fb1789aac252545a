"""Caffe's protocol buffers: the schema, its message classes, text and binary files.

- `caffe_pb2`: the message classes, as protoc would have written them;
- `text`: prototxt files; `binary`: caffemodel, solverstate and binaryproto files;
- `blobs`: BlobProto to NumPy and back;
- `caffe.proto`: the schema; `compile` turns it into the descriptor that `caffe_pb2` loads.
"""
