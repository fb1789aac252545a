"""Older generations of the format, upgraded as BVLC Caffe does it."""

import pytest

from caffe_spn.errors import PrototxtError
from caffe_spn.graph.upgrade import upgrade, upgrade_solver
from caffe_spn.proto import binary, caffe_pb2, text, wire
from tests import golden_cases as golden


def load(name, message):
    return (text if name.endswith(".prototxt") else binary).read(golden.FOLDER / name, message)


def run(case, message):
    old = load(case["files"][0], message)
    kept = message()
    kept.CopyFrom(old)
    if message is caffe_pb2.SolverParameter:
        result = upgrade_solver(old), True
    else:
        result = upgrade(old)
    assert old == kept, "the given message was changed"
    return result


@pytest.mark.parametrize("case", golden.cases("upgrade"), ids=golden.case_id)
def test_recorded(case):
    message = getattr(caffe_pb2, case["message"])
    if case["expect"] == "error":
        with pytest.raises(PrototxtError):
            run(case, message)
        return
    new, complete = run(case, message)
    assert new == load(case["files"][1], message)
    assert complete == case["complete"]


def net(source):
    return text.parse(source, caffe_pb2.NetParameter())


def test_every_v1_type_has_a_name():
    for name, number in caffe_pb2.V1LayerParameter.LayerType.items():
        new, complete = upgrade(caffe_pb2.NetParameter(layers=[{"type": number}]))
        assert complete
        # HDF5_DATA and HDF5Data are the same word.
        assert new.layer[0].type.lower().removesuffix("withloss") in name.replace("_", "").lower()
        assert bool(new.layer[0].type) == (name != "NONE")


V0_OPTIONS = [
    ("conv", "num_output: 2", "convolution_param { num_output: 2 }"),
    ("innerproduct", "biasterm: false", "inner_product_param { bias_term: false }"),
    ("conv", "kernelsize: 3 stride: 2 pad: 1",
     "convolution_param { kernel_size: 3 stride: 2 pad: 1 }"),
    ("pool", "pool: STOCHASTIC stride: 2", "pooling_param { pool: STOCHASTIC stride: 2 }"),
    ("lrn", "local_size: 3 alpha: 2 beta: 1 k: 4",
     "lrn_param { local_size: 3 alpha: 2 beta: 1 k: 4 }"),
    ("dropout", "dropout_ratio: 0.2", "dropout_param { dropout_ratio: 0.2 }"),
    ("concat", "concat_dim: 0", "concat_param { concat_dim: 0 }"),
    ("infogain_loss", 'source: "H"', 'infogain_loss_param { source: "H" }'),
    ("hdf5_data", 'source: "s" batchsize: 2', 'hdf5_data_param { source: "s" batch_size: 2 }'),
    ("hdf5_output", "hdf5_output_param { file_name: 'f' }", "hdf5_output_param { file_name: 'f' }"),
    ("images", "new_height: 4 new_width: 5 shuffle_images: true rand_skip: 3",
     "image_data_param { new_height: 4 new_width: 5 shuffle: true rand_skip: 3 }"),
    ("window_data", "det_fg_threshold: 0.1 det_bg_threshold: 0.2 det_fg_fraction: 0.3",
     "window_data_param { fg_threshold: 0.1 bg_threshold: 0.2 fg_fraction: 0.3 }"),
    ("window_data", "det_context_pad: 4 det_crop_mode: 'square'",
     "window_data_param { context_pad: 4 crop_mode: 'square' }"),
    ("relu", "scale: 2 meanfile: 'm' cropsize: 3 mirror: true",
     "transform_param { scale: 2 mean_file: 'm' crop_size: 3 mirror: true }"),
    ("softmax", "new_num: 3", ""),
]  # fmt: skip


@pytest.mark.parametrize("layer_type, old, new", V0_OPTIONS)
def test_v0_options(layer_type, old, new):
    upgraded, complete = upgrade(net(f'layers {{ layer {{ type: "{layer_type}" {old} }} }}'))
    expected = net(f"layer {{ {new} }}")
    expected.layer[0].type = upgraded.layer[0].type
    assert upgraded == expected
    assert complete


@pytest.mark.parametrize(
    "option", ["num_output: 2", "pool: AVE", "source: 's'", "hdf5_output_param {}"]
)
def test_v0_option_of_another_type_is_reported(option):
    upgraded, complete = upgrade(net(f'layers {{ layer {{ type: "tanh" {option} }} }}'))
    assert upgraded == net('layer { type: "TanH" }')
    assert not complete


@pytest.mark.parametrize(
    "source, error",
    [
        ('layers { layer { name: "a" type: "relu" } bottom: "x" }', "bottom 'x' is not the top"),
        (
            'input: "x" layers { layer { type: "padding" } bottom: "x" top: "p" top: "q" }'
            'layers { layer { type: "conv" } bottom: "p" }',
            "must have one bottom each",
        ),
        ('layers { layer { type: "convv" } }', "'convv' is no layer type"),
        ('layers { type: RELU } layer { type: "ReLU" }', "both 'layer' and the old 'layers'"),
        ('input: "a" input: "b" input_shape { dim: 1 }', "2 inputs \\(a, b\\), 1 input_shape"),
        ('input: "a" input_dim: 1 input_dim: 2', "1 inputs \\(a\\), 0 input_shape and 2 input_dim"),
    ],
)
def test_errors(source, error):
    with pytest.raises(PrototxtError, match=error):
        upgrade(net(source))


@pytest.mark.parametrize(
    "stated",
    [
        "input_shape { dim: 5 dim: 6 } input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4",
        "input_shape { dim: 5 dim: 6 } input_dim: 1",
        "input_shape { dim: 5 dim: 6 } input_shape { dim: 7 }",
    ],
)
def test_input_shape_counts_and_not_input_dim(stated):
    new, _ = upgrade(net(f'input: "a" {stated}'))
    assert new == net(
        'layer { name: "input" type: "Input" top: "a" input_param { shape { dim: 5 dim: 6 } } }'
    )


def test_more_input_dim_than_four_for_an_input_are_left_aside():
    new, _ = upgrade(net('input: "a"' + "".join(f" input_dim: {n}" for n in range(1, 8))))
    assert list(new.layer[0].input_param.shape[0].dim) == [1, 2, 3, 4]


def test_only_three_batch_norm_params_are_changed():
    two = 'layer { type: "BatchNorm" param { lr_mult: 1 } param { lr_mult: 1 } }'
    assert upgrade(net(two))[0] == net(two)


def test_v1_layer_among_v0_layers_is_reported():
    source = 'layers { layer { type: "tanh" } top: "x" } layers { type: RELU bottom: "x" }'
    new, complete = upgrade(net(source))
    assert new == net('layer { type: "TanH" top: "x" } layer { bottom: "x" }')
    assert not complete


def part(number, content):
    return wire.length_delimited(number, content) + content


LATIN = "donn\xe9es".encode("latin-1")
V1_DATA = b"\x28\x05"
NOT_UTF8 = [
    part(2, part(4, LATIN)),
    part(2, part(2, LATIN) + part(3, LATIN) + part(1001, LATIN)),
    part(2, V1_DATA + part(11, part(1, LATIN) + part(3, LATIN))),
    part(1, LATIN) + part(2, part(1, part(2, b"data") + part(16, LATIN) + part(18, LATIN))),
    part(2, part(1, part(1, LATIN) + part(2, b"relu")) + part(3, LATIN)),
    part(3, LATIN) + b"\x20\x01" * 4,
    part(3, LATIN)
    + b"\x20\x01" * 4
    + part(2, part(1, part(2, b"padding")) + part(2, LATIN) + part(3, b"p"))
    + part(2, part(1, part(2, b"conv")) + part(2, b"p") + part(3, LATIN)),
]


@pytest.mark.parametrize("old", NOT_UTF8)
def test_texts_that_are_not_utf8_stay_as_they_are(old):
    new, complete = upgrade(caffe_pb2.NetParameter.FromString(old))
    assert complete
    assert not new.layers
    assert new.SerializeToString().count(LATIN) == old.count(LATIN)


def test_unknown_v0_type_that_is_not_utf8():
    with pytest.raises(PrototxtError, match="is no layer type of the first generation"):
        upgrade(caffe_pb2.NetParameter.FromString(part(2, part(1, part(2, LATIN)))))


def test_messages_of_other_classes():
    """As those of a real caffe_pb2, which another program has in the default pool."""
    from google.protobuf import descriptor_pb2, descriptor_pool

    file = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName
    for name, function in (("NetParameter", upgrade), ("SolverParameter", upgrade_solver)):
        message_class = caffe_pb2._message_class_factory(pool)(found(f"caffe.{name}"))
        theirs = message_class(**({"name": "n"} if name == "NetParameter" else {"net": "n"}))
        result = function(theirs)
        result = result[0] if isinstance(result, tuple) else result
        assert isinstance(result, getattr(caffe_pb2, name))
        assert result.SerializeToString() == theirs.SerializeToString() != b""
