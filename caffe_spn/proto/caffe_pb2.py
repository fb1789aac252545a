"""The message classes and enums of caffe.proto, as protoc's output would offer them.

They are built from the shipped descriptor in a descriptor pool of their own. In the default pool a
process that also imports the real Caffe, or any program with a caffe.proto of its own (OpenCV's
importers, the original fork), would end with "duplicate file".

>>> from caffe_spn.proto import caffe_pb2
>>> net = caffe_pb2.NetParameter(name="tiny")
>>> net.layer.add(type="Pooling").pooling_param.pool == caffe_pb2.PoolingParameter.MAX
True
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper


def _message_class_factory(pool: descriptor_pool.DescriptorPool):
    # protobuf before 4.22 makes classes through a MessageFactory.
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass
    return message_factory.MessageFactory(pool).GetPrototype


def load(file: descriptor_pb2.FileDescriptorProto) -> None:
    """Make the classes and enums of this module from a schema; older ones stay usable.

    Parameters
    ----------
    file : FileDescriptorProto
        Caffe's schema, perhaps with an extension (`caffe_spn.proto.extension`).

    Raises
    ------
    TypeError
        If it makes no schema; the module is as it was then.
    """
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindFileByName(file.name)
    message_class = _message_class_factory(pool)
    names = {"DESCRIPTOR": descriptor}
    for name, message in descriptor.message_types_by_name.items():
        names[name] = message_class(message)
        # pickle and copy look a class up by its module.
        names[name].__module__ = __name__
    for name, enum in descriptor.enum_types_by_name.items():
        names[name] = enum_type_wrapper.EnumTypeWrapper(enum)
        names.update((value.name, value.number) for value in enum.values)
    globals().update(names)


load(
    descriptor_pb2.FileDescriptorProto.FromString(
        (Path(__file__).parent / "caffe_descriptor.binpb").read_bytes()
    )
)
