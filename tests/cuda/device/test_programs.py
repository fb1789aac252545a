"""How the arguments of a kernel are passed."""

import ctypes

import numpy as np
import pytest

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.device.programs import Arguments


def test_arguments_are_packed_as_c_does():
    class Expected(ctypes.Structure):
        _fields_ = [
            ("flag", ctypes.c_int),
            ("array", ctypes.c_void_p),
            ("byte", ctypes.c_uint8),
            ("factor", ctypes.c_double),
            ("alpha", ctypes.c_float),
            ("none", ctypes.c_void_p),
            ("half", ctypes.c_uint16),
            ("count", ctypes.c_longlong),
            ("last", ctypes.c_int),
        ]

    given = [True, np.uint8(3), np.float64(0.1), 0.5, np.float16(1), np.int64(-(2**40)), 7]
    given[1:1] = [DeviceArray(2**63 + 256, (2, 2))]
    given[5:5] = [None]
    expected = Expected(1, 2**63 + 256, 3, 0.1, 0.5, 0, 0x3C00, -(2**40), 7)
    fields = [getattr(Expected, name) for name, _ in Expected._fields_]
    for _ in range(2):
        packed = Arguments(given).packed()
        for field in fields:
            part = slice(field.offset, field.offset + field.size)
            assert packed[part] == bytes(expected)[part]
    assert len(packed) == fields[-1].offset + fields[-1].size
    assert Arguments([]).packed() == b""


@pytest.mark.parametrize("value", [np.zeros(3), "x", b"x", np.zeros(1, "V8")[0], np.bool_(True)])
def test_launch_refuses_what_no_kernel_takes(value):
    for use in (list, Arguments.packed):
        with pytest.raises(TypeError, match=f"a kernel takes no {type(value).__name__}"):
            use(Arguments([value]))
