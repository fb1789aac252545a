import pytest

import caffe_spn as caffe

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 4 } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 5 } }
"""


@pytest.fixture
def make(tmp_path):
    def net(*replacements):
        text = NET
        for old, new in replacements:
            text = text.replace(old, new)
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return caffe.Net(path, caffe.TEST)

    return net


def test_layers_of_equal_name_share_memory_and_others_are_left(make):
    source, net = make(), make(('"b"', '"own"'))
    net.share_with(source)
    source.params["a"][0].data[...] = 3
    source.params["b"][0].data[...] = 3
    assert (net.params["a"][0].data == 3).all()
    assert not net.params["own"][0].data.any()
    assert net.params["a"][0].diff_memory is not source.params["a"][0].diff_memory


def test_of_two_layers_of_one_name_the_first_is_meant(make):
    source, net = make(), make(('name: "b"', 'name: "a"'))
    source.params["a"][0].data[...] = 3
    net.share_with(source)
    assert (net.layers[1].blobs[0].data == 3).all()
    assert not net.layers[2].blobs[0].data.any()


def test_all_misfits_are_listed_and_nothing_is_shared(make):
    source = make()
    net = make(("num_output: 4", "num_output: 6"))
    with pytest.raises(caffe.WeightsError) as caught:
        net.share_with(source)
    message = str(caught.value)
    assert "layer 'a': [(4, 3), (4,)] against [(6, 3), (6,)] here" in message
    assert "layer 'b': [(5, 4), (5,)] against [(5, 6), (5,)] here" in message
    assert not net.params["b"][1].shares_data_with(source.params["b"][1])
