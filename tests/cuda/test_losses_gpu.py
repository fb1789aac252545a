import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.cuda import losses
from caffe_spn.cuda.runtime import MOST_BLOCKS
from caffe_spn.errors import DataError, ShapeError
from caffe_spn.io import array_to_blobproto
from tests import golden_cases
from tests.cuda import both_devices
from tests.layers.running import Run, normal
from tests.layers.test_softmax_loss import DIVISORS, IGNORED, labels_for, loss

SIGMOID = 'type: "SigmoidCrossEntropyLoss"'
EUCLIDEAN = 'type: "EuclideanLoss"'
CONTRASTIVE = 'type: "ContrastiveLoss"'
HINGE = 'type: "HingeLoss" hinge_loss_param { norm: L1 }'
HINGE_L2 = 'type: "HingeLoss" hinge_loss_param { norm: L2 }'
MULTINOMIAL = 'type: "MultinomialLogisticLoss"'


def probabilities(*shape):
    x = np.exp(normal(*shape))
    return x / x.sum(axis=1, keepdims=True)


def classes(count, *shape):
    return np.random.default_rng(1).integers(0, count, shape)


# A loss of each kind, with more elements than one block works on.
LOSSES = {
    "softmax": (loss("ignore_label: 255"), 2 * normal(2, 11, 17, 19), labels_for(2, (17, 19), 11)),
    "softmax_rows": (loss(), normal(300, 40), classes(40, 300)),
    "sigmoid": (SIGMOID, 3 * normal(5, 700), classes(2, 5, 700)),
    "euclidean": (EUCLIDEAN, normal(3, 7, 50), normal(3, 7, 50, seed=1)),
    "hinge": (HINGE, normal(270, 19), classes(19, 270)),
    "hinge_l2": (HINGE_L2, normal(4, 3, 5), classes(15, 4)),
    "multinomial": (MULTINOMIAL, probabilities(300, 18), classes(18, 300)),
    "contrastive": (CONTRASTIVE, normal(33, 45), normal(33, 45, seed=1), classes(2, 33)),
}
INFOGAIN = 'type: "InfogainLoss" loss_param { ignore_label: 255 }'
LOSSES["infogain"] = (INFOGAIN, *LOSSES["softmax"][1:], normal(1, 1, 11, 11, seed=2))
EACH_LOSS = pytest.mark.parametrize("name", LOSSES)


@EACH_LOSS
def test_as_on_the_cpu(gpu, name):
    both_devices.compare(gpu, *LOSSES[name])


@pytest.mark.sanitized
@EACH_LOSS
def test_in_any_order(gpu_in_order, name):
    both_devices.compare(gpu_in_order, *LOSSES[name])


@EACH_LOSS
def test_equal_in_bits(gpu, name):
    both_devices.equal_in_bits(gpu, *LOSSES[name], top_diffs=[3.0])


@EACH_LOSS
def test_no_examples(gpu, name):
    definition, *bottoms = LOSSES[name]
    none = [b if b.shape[:2] == (1, 1) else b[:0] for b in bottoms]  # all but infogain's matrix
    both_devices.compare(gpu, definition, *none)


@pytest.mark.parametrize("param", DIVISORS)
@pytest.mark.parametrize("ignored", ["", f"ignore_label: {IGNORED}"])
def test_softmax_normalisation(gpu, param, ignored):
    labels = labels_for(2, (3, 5), 4)
    labels = labels if ignored else np.where(labels == IGNORED, 1, labels)
    both_devices.compare(gpu, loss(f"{ignored} {param}"), normal(2, 4, 3, 5), labels)


@pytest.mark.parametrize(
    "axis, shape, labels", [(2, (2, 3, 4, 5), (2, 3, 5)), (-1, (2, 3, 40), (2, 3))]
)
def test_softmax_along_other_axes(gpu, axis, shape, labels):
    both_devices.compare(gpu, loss("", f"axis: {axis}"), normal(*shape), classes(4, *labels))


def test_softmax_gives_probabilities(gpu):
    x, labels = normal(2, 4, 3, 5), labels_for(2, (3, 5), 4)
    made = both_devices.compare(gpu, loss("ignore_label: 255"), x, labels, tops=2, gradient=False)
    np.testing.assert_allclose(made.top[1].data.sum(axis=1), 1, 1e-6)


@pytest.mark.parametrize("shape", [(2, 11, 3), (3, 200)])
def test_softmax_reads_its_scores_in_one_launch(gpu, shape):
    # That, and the last step of all losses; backward is one.
    caffe.set_mode_gpu()
    run = Run(loss(), normal(*shape), np.ones((shape[0], *shape[2:])))
    launches = gpu.launches
    run.forward()
    assert gpu.launches == launches + 2
    run.backward(1, propagate=[True, False])
    assert gpu.launches == launches + 3


def test_softmax_of_more_rows_than_blocks(gpu):
    rows = MOST_BLOCKS + 70
    labels = np.where(np.arange(rows) % 7, np.arange(rows) % 33, IGNORED)
    both_devices.compare(gpu, loss("ignore_label: 255"), normal(rows, 33), labels)


def test_softmax_probability_zero_costs_what_the_smallest_float_costs(gpu):
    both_devices.compare(gpu, loss(), np.array([[0, 1000]]), np.array([0]))


@pytest.mark.parametrize("definition", [loss("ignore_label: 255"), SIGMOID])
def test_all_ignored_costs_nothing(gpu, definition):
    if definition is SIGMOID:
        definition += " loss_param { ignore_label: 255 normalization: VALID }"
        both_devices.compare(gpu, definition, normal(2, 3), np.full((2, 3), IGNORED))
    else:
        both_devices.compare(gpu, definition, normal(2, 3), np.full(2, IGNORED))


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_sigmoid_normalisation_and_ignored_targets(gpu, mode):
    x, target = 20 * normal(3, 4, 5), np.random.default_rng(1).random((3, 20))
    target[1, 3:9] = -1
    param = f"loss_param {{ ignore_label: -1 normalization: {mode} }}"
    both_devices.compare(gpu, f"{SIGMOID} {param}", x, target)


@pytest.mark.parametrize("param", ["margin: 8", "margin: 70 legacy_version: true"])
def test_contrastive_margins(gpu, param):
    definition = f"{CONTRASTIVE} contrastive_loss_param {{ {param} }}"
    both_devices.compare(gpu, definition, *LOSSES["contrastive"][1:])


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_infogain_normalisation_and_probabilities(gpu, mode):
    definition = INFOGAIN.replace("}", f"normalization: {mode} }}")
    x, labels = normal(2, 4, 3, 5), labels_for(2, (3, 5), 4)
    both_devices.compare(gpu, definition, x, labels, normal(4, 4), tops=2, gradient=False)


def test_infogain_uploads_its_matrix_once(gpu, tmp_path):
    path = tmp_path / "matrix.binaryproto"
    path.write_bytes(array_to_blobproto(normal(1, 1, 3, 3)).SerializeToString())
    definition = f'{INFOGAIN} infogain_loss_param {{ source: "{path}" }}'
    run = both_devices.compare(gpu, definition, normal(2, 3), np.array([0, 2]))
    caffe.set_mode_gpu()
    uploads = gpu.uploads
    run.forward()
    assert gpu.uploads == uploads


def test_contrastive_equal_vectors(gpu):
    x = normal(3, 4)
    both_devices.compare(gpu, CONTRASTIVE, x, x, [0, 1, 0])


def test_nan_shows_in_the_loss(gpu):
    for name in ("softmax", "sigmoid", "euclidean", "hinge", "multinomial"):
        definition, x, other = LOSSES[name]
        x = x.copy()
        x.reshape(len(x), -1)[0] = np.nan
        (top,), _, _ = both_devices.run(gpu, definition, x, np.zeros_like(other))
        assert np.isnan(top), name


def test_a_sum_of_many_terms_keeps_its_digits(gpu):
    # Added up in float32 one after the other, they would be 16777216.
    a, b = np.ones((1, 20_000_000), np.float32), np.zeros((1, 20_000_000), np.float32)
    (top,), _, _ = both_devices.run(gpu, EUCLIDEAN, a, b)
    assert top == 10_000_000


# Labels that are no class: the error is the CPU's, and comes when the host reads.

WRONG = {
    "softmax": (loss("ignore_label: 7"), (2, 4, 3, 5), (2, 3, 5)),
    "hinge": (HINGE, (30, 4), (30,)),
    "multinomial": (MULTINOMIAL, (30, 4), (30,)),
    "infogain": ('type: "InfogainLoss"', (2, 4, 3, 5), (2, 3, 5), normal(4, 4)),
}


@pytest.mark.sanitized
@pytest.mark.parametrize("wrong", [4, -1, 255, np.nan, 1e20, -np.inf])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels(gpu, name, wrong):
    definition, shape, label_shape, *more = WRONG[name]
    labels = np.zeros(label_shape)
    labels.flat[[17, 28]] = wrong
    with pytest.raises(DataError) as on_cpu:
        Run(definition, normal(*shape), labels, *more)
    caffe.set_mode_gpu()
    run = Run(definition, normal(*shape), labels, *more)
    run.top[0].diff[...] = 1
    run.layer.backward(run.top, [True] + [False] * (len(run.bottom) - 1), run.bottom)
    with pytest.raises(DataError) as on_gpu:
        run.out.item()
    assert str(on_gpu.value) == str(on_cpu.value)
    # Said once; who goes on sees that the loss is no number.
    assert np.isnan(run.out)
    assert np.isfinite(run.bottom[0].diff).all()


def test_a_right_batch_after_a_wrong_one(gpu):
    caffe.set_mode_gpu()
    run = Run(loss(), normal(2, 4), [0, 9])
    with pytest.raises(DataError):
        run.out.item()
    run.bottom[1].data[...] = 1
    run.forward()
    assert np.isfinite(run.out)


def test_a_net_raises_wrong_labels(gpu, tmp_path):
    caffe.set_mode_gpu()
    path = tmp_path / "net.prototxt"
    path.write_text(
        """
        layer { name: "in" type: "Input" top: "x" top: "t"
                input_param { shape { dim: 3 dim: 2 } shape { dim: 3 } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" top: "loss" }
        """
    )
    net = caffe.Net(str(path), caffe.TRAIN)
    net.blobs["t"].data[...] = [0, 1, 2]
    with pytest.raises(DataError, match=r"label 2 at \(2,\)"):
        net.forward_backward()


def test_shapes_must_fit(gpu):
    a, b = gpu.array((2, 3)), gpu.array((2, 4))
    outcome = losses.Outcome(gpu.array((1,)), gpu.array((4,), np.float64), 2.0)
    with pytest.raises(ShapeError, match="euclidean_forward: b is"):
        losses.euclidean_forward(a, b, outcome)
    with pytest.raises(ShapeError, match="loss_finish: summary is"):
        losses.euclidean_forward(a, a, outcome._replace(summary=gpu.array((4,))))


TYPES = ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss", "EuclideanLoss", "HingeLoss")
TYPES += ("MultinomialLogisticLoss", "ContrastiveLoss", "InfogainLoss")


@pytest.mark.parametrize("case", golden_cases.cases("layer", types=TYPES), ids=golden_cases.case_id)
def test_as_recorded_from_caffe(case, tmp_path, gpu):
    both_devices.run_golden(gpu, case, tmp_path)
