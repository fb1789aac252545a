"""Checks of the names of `caffe` itself, the vectors, NCCL and Timer."""

import importlib
import io as text_io
import time

import numpy as np
import pytest

import caffe_spn as caffe
from caffe_spn.alias import caffe_importable
from caffe_spn.nccl import multiprocess, root_solver
from caffe_spn.training_log import logger
from tests.pycaffe.lab import DEPLOYED, equal_weights, weights_of
from tests.pycaffe.registry import checks_of

CHECKS = {}
check = checks_of("caffe", CHECKS)
vectors = checks_of("vectors", CHECKS)
nccl = checks_of("NCCL", CHECKS)
timer = checks_of("Timer", CHECKS)


@check("Net")
def net(lab):
    assert isinstance(lab.net(), caffe.Net) and lab.net(DEPLOYED).name == "deployed"


@check("SGDSolver", "NesterovSolver", "AdaGradSolver")
@check("RMSPropSolver", "AdaDeltaSolver", "AdamSolver")
def solvers(lab):
    more = {"RMSProp": "rms_decay: 0.9", "AdaDelta": "momentum: 0.9", "Adam": "momentum: 0.9"}
    for kind in ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"):
        solver = lab.solver(getattr(caffe, f"{kind}Solver"), more.get(kind, ""))
        assert isinstance(solver, caffe.SGDSolver) and solver.type == kind
        before = weights_of(solver.net)
        solver.step(1)
        assert solver.iter == 1 and not equal_weights(before, weights_of(solver.net))


@check("get_solver")
def get_solver(lab):
    made = caffe.get_solver(lab.solver_file('type: "Adam"'))
    assert type(made) is caffe.AdamSolver
    with pytest.raises(RuntimeError, match="unknown solver type 'Atom'"):
        caffe.get_solver(lab.solver_file('type: "Atom"'))


@check("Layer")
def layer(lab):
    assert issubclass(type(lab.python_net().layers[1]), caffe.Layer)
    assert isinstance(lab.net().layers[0], caffe.Layer)


@check("Classifier", "Detector")
def nets_for_images(lab):
    text = DEPLOYED.replace("dim: 2 dim: 3", "dim: 1 dim: 3 dim: 4 dim: 4")
    path = lab.write(text)
    caffe.Net(path, caffe.TEST).save(lab.path("w"))
    for cls in (caffe.Classifier, caffe.Detector):
        made = cls(path, lab.path("w"))
        assert isinstance(made, caffe.Net) and made.inputs == ["x"]


@check("NetSpec", "layers", "params", "to_proto")
def net_spec(lab):
    n = caffe.NetSpec()
    n.x = caffe.layers.Input(shape=dict(dim=[1, 2, 4, 4]))
    n.pool = caffe.layers.Pooling(n.x, kernel_size=2, pool=caffe.params.Pooling.AVE)
    assert caffe.Net(n.to_proto(), caffe.TEST).blobs["pool"].data.shape == (1, 2, 3, 3)
    assert [one.name for one in caffe.to_proto(n.pool).layer] == ["Input1", "Pooling1"]
    assert caffe.layers.AnyNameAtAll().fn.type_name == "AnyNameAtAll"


@check("io", "proto.caffe_pb2", "pycaffe", "net_spec", "draw", "coord_map", "classifier")
@check("detector")
def submodules(lab):
    names = ("io", "pycaffe", "net_spec", "draw", "coord_map", "classifier", "detector")
    with caffe_importable():
        for name in (*names, "proto", "proto.caffe_pb2", "_caffe"):
            module = importlib.import_module(f"caffe.{name}")
            assert module is importlib.import_module(f"caffe_spn.{name}")
            assert module.__spec__.name == f"caffe_spn.{name}"
    assert caffe.pycaffe.Net is caffe.Net and caffe.pycaffe.Timer is caffe.Timer
    assert caffe.draw.draw_net and caffe.coord_map.crop and caffe.net_spec.Top
    assert caffe.classifier.Classifier is caffe.Classifier
    assert caffe.detector.Detector is caffe.Detector
    assert caffe.proto.caffe_pb2.NetParameter(name="n").name == "n" and caffe.io.Transformer


@check("TRAIN", "TEST")
def phases(lab):
    assert (caffe.TRAIN, caffe.TEST) == (0, 1)
    assert caffe.proto.caffe_pb2.TEST == caffe.TEST == lab.net().phase


@check("init_log", "log")
def logging(lab):
    before = list(logger.handlers), logger.level, logger.propagate
    try:
        stream = text_io.StringIO()
        caffe.init_log(0, stream)
        caffe.log("some words")
        assert stream.getvalue().startswith("I") and stream.getvalue().endswith("] some words\n")
        caffe.init_log()
        caffe.init_log(2)
        caffe.init_log(0, True)
        caffe.init_log(0, False)
        assert not logger.isEnabledFor(30)
    finally:
        logger.handlers[:], level, logger.propagate = before
        logger.setLevel(level)


@check("set_mode_cpu")
def cpu(lab):
    assert caffe.set_mode_cpu() is None
    assert "y" in lab.net().forward()


@check("set_mode_gpu", "set_device")
def gpu(lab):
    # A pycaffe for the CPU ends the process at the first layer.
    try:
        caffe.set_device(0)
        caffe.set_mode_gpu()
    except RuntimeError as error:
        assert error.help, "it says what to do"
    else:
        assert "y" in lab.net().forward()
    finally:
        caffe.set_mode_cpu()


@check("set_random_seed")
def random_seed(lab):
    made = []
    for seed in (7, 7, 8):
        caffe.set_random_seed(seed)
        made.append(weights_of(lab.net()))
    assert equal_weights(made[0], made[1]) and not equal_weights(made[0], made[2])


@check("layer_type_list")
def layer_types(lab):
    found = caffe.layer_type_list()
    assert isinstance(found, caffe.StringVec)
    assert {"Convolution", "InnerProduct", "Python", "Divide"} <= set(found)


@check("solver_count", "set_solver_count", "solver_rank", "set_solver_rank")
@check("set_multiprocess")
def several_solvers(lab):
    assert (caffe.solver_count(), caffe.solver_rank()) == (1, 0)
    try:
        caffe.set_solver_count(3)
        caffe.set_solver_rank(1)
        caffe.set_multiprocess(True)
        assert (caffe.solver_count(), caffe.solver_rank(), multiprocess()) == (3, 1, True)
        assert not root_solver()
    finally:
        caffe.set_solver_count(1)
        caffe.set_solver_rank(0)
        caffe.set_multiprocess(False)


@check("has_nccl")
def has_nccl(lab):
    assert caffe.has_nccl() is False


@check("NCCL")
@nccl("new_uid", "bcast")
def nccl_of_one(lab):
    uid = caffe.NCCL.new_uid()
    assert isinstance(uid, bytes) and len(uid) == 128
    solver = lab.solver()
    group = caffe.NCCL(solver, uid)
    before = weights_of(solver.net)
    group.bcast()
    assert equal_weights(before, weights_of(solver.net))
    solver.add_callback(group)
    solver.net.after_backward(group)
    solver.step(1)
    caffe.set_solver_count(2)
    try:
        with pytest.raises(caffe.DeviceError, match="2 solvers are to train together"):
            caffe.NCCL(solver, uid)
    finally:
        caffe.set_solver_count(1)


@check("__version__")
def version(lab):
    with caffe_importable():
        assert importlib.import_module("caffe").__version__ == "1.0.0"
    assert caffe.__version__ == importlib.import_module("caffe_spn.version").__version__


@check("Timer")
@timer("start", "stop", "ms")
def stopwatch(lab):
    watch = caffe.Timer()
    assert watch.ms == 0
    watch.start()
    time.sleep(0.02)
    watch.start()
    watch.stop()
    first = watch.ms
    assert 15 < first < 5000
    time.sleep(0.01)
    watch.stop()
    assert watch.ms == first, "a second stop changes nothing"
    watch.start()
    assert 0 <= watch.ms < first, "each start is from zero, and reading stops"


@vectors("BlobVec", "RawBlobVec", "LayerVec", "StringVec", "IntVec", "DtypeVec", "NetVec")
@vectors("BoolVec")
def sequences(lab):
    kinds = ("Blob", "RawBlob", "Layer", "String", "Int", "Dtype", "Net", "Bool")
    for kind in kinds:
        cls = getattr(caffe, f"{kind}Vec")
        vector = cls()
        vector.append(1)
        vector.extend([2, 3])
        vector[0] = 5
        del vector[1]
        assert len(vector) == 2 and list(vector) == [5, 3] and vector[-1] == 3 and 3 in vector
        assert type(vector[:1]) is cls and list(vector[:1]) == [5]
        with pytest.raises(IndexError):
            vector[2]


@vectors("BlobVec.add_blob")
def add_blob(lab):
    blobs = caffe.BlobVec()
    blobs.add_blob(2, 3)
    blobs.add_blob()
    assert [b.data.shape for b in blobs] == [(2, 3), ()] and not blobs[0].data.any()
    assert blobs[0].data.dtype == np.float32
