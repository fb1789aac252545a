"""The numbers and signatures by which NVIDIA's libraries are called, against their headers.

What ctypes is told wrongly shows on a GPU only, and there as anything.
"""

import ctypes
import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from caffe_spn.cuda.device import pycuda_graphs
from caffe_spn.cuda.nvidia import cublas, cudnn, cudnn_choice, cudnn_descriptors
from tests.cuda.emulation.build import compiler

HEADERS = {"cuda.h": "cuda_runtime.h", "cudnn.h": "cudnn_cnn.h", "cublas_v2.h": "cublas_api.h"}
# What a parameter is: p for an address, else its bytes.
PROGRAM = """
#include <cstddef>
#include <cstdio>
#include <type_traits>
template <typename... T>
void print(const char *name, T... numbers) {
    std::printf("%s", name);
    (std::printf(" %lld", static_cast<long long>(numbers)), ...);
    std::puts("");
}
template <typename Result, typename... T>
void signature(const char *name, Result (*)(T...)) {
    print(name, (std::is_pointer_v<T> ? 0 : static_cast<int>(sizeof(T)))...);
}
#define NUMBER(name) print(#name, name)
#define SIGNATURE(name) signature(#name, name)
#define RESULT(type) print(#type, sizeof(type), offsetof(type, algo), offsetof(type, status), \\
    offsetof(type, time), offsetof(type, memory), offsetof(type, determinism), \\
    offsetof(type, mathType), offsetof(type, reserved))
"""
NUMBERS = {
    "cuda.h": {
        "CU_STREAM_CAPTURE_MODE_RELAXED": pycuda_graphs._CAPTURE_MODE_RELAXED,
        "CU_STREAM_NON_BLOCKING": pycuda_graphs.NON_BLOCKING,
    },
    "cudnn.h": {
        "CUDNN_DATA_FLOAT": cudnn_descriptors._FLOAT,
        "CUDNN_TENSOR_NCHW": cudnn_descriptors._NCHW,
        "CUDNN_CROSS_CORRELATION": cudnn_descriptors._CROSS_CORRELATION,
        "CUDNN_FMA_MATH": cudnn_descriptors.FMA_MATH,
        "CUDNN_DEFAULT_MATH": cudnn_descriptors.DEFAULT_MATH,
        "CUDNN_DETERMINISTIC": cudnn_choice._DETERMINISTIC,
    },
    "cublas_v2.h": {
        "CUBLAS_DEFAULT_MATH": cublas._DEFAULT_MATH,
        "CUBLAS_TF32_TENSOR_OP_MATH": cublas._TF32_MATH,
        "CUBLAS_OP_N": 0,
        "CUBLAS_OP_T": 1,
        **{f"CUBLAS_STATUS_{word}": number for number, word in cublas._STATUS.items()},
    },
}
PASSES = (cudnn_choice.FORWARD, cudnn_choice.BACKWARD_DATA, cudnn_choice.BACKWARD_FILTER)
SIGNATURES = {
    "cuda.h": pycuda_graphs._SIGNATURES,
    "cudnn.h": {
        **cudnn._SIGNATURES,
        **cudnn_descriptors._SIGNATURES,
        **{name: kinds for each in PASSES for name, kinds in each.signatures.items()},
    },
    "cublas_v2.h": cublas._SIGNATURES,
}
RESULTS = [f"cudnnConvolution{kind}AlgoPerf_t" for kind in ("Fwd", "BwdData", "BwdFilter")]


def folders():
    """Where headers may lie: NVIDIA's packages, and CUDA's toolkit."""
    found = importlib.util.find_spec("nvidia")
    roots = found.submodule_search_locations if found else []
    yield from (folder for root in roots for folder in Path(root).glob("*/include"))
    yield Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"


@pytest.fixture(scope="module", params=HEADERS)
def header(request, tmp_path_factory):
    """A header's name, and what a program prints that includes it: numbers by name."""
    name = request.param
    places = list(folders())
    for needed in (name, HEADERS[name], "cuda_runtime.h"):
        if not any((folder / needed).is_file() for folder in places):
            pytest.skip(f"{needed} is not installed")
    if compiler() is None:
        pytest.skip("there is no g++")
    lines = [f"    NUMBER({number});" for number in NUMBERS[name]]
    lines += [f"    SIGNATURE({function});" for function in SIGNATURES[name]]
    lines += [f"    RESULT({kind});" for kind in RESULTS if name == "cudnn.h"]
    folder = tmp_path_factory.mktemp("constants")
    text = "\n".join([f"#include <{name}>", PROGRAM, "int main() {", *lines, "}", ""])
    (folder / "print.cpp").write_text(text)
    include = [f"-I{place}" for place in places]
    # Nothing is called: functions are named for their types only.
    command = [compiler(), "-std=c++17", "-w", *include, "-O1", "print.cpp", "-o", "print"]
    subprocess.run([*command, "-Wl,--unresolved-symbols=ignore-all"], cwd=folder, check=True)
    printed = subprocess.run([folder / "print"], capture_output=True, text=True, check=True).stdout
    return name, {
        line.split()[0]: [int(number) for number in line.split()[1:]]
        for line in printed.splitlines()
    }


def test_numbers(header):
    name, found = header
    for number, ours in NUMBERS[name].items():
        assert found[number] == [ours], number


def test_signatures(header):
    name, found = header
    for function, kinds in SIGNATURES[name].items():
        addresses = [kind is ctypes.c_void_p or hasattr(kind, "contents") for kind in kinds]
        ours = [
            0 if address else ctypes.sizeof(kind)
            for address, kind in zip(addresses, kinds, strict=True)
        ]
        assert found[function] == ours, function


@pytest.mark.parametrize("header", ["cudnn.h"], indirect=True)
def test_what_cudnn_says_of_an_algorithm(header):
    _, found = header
    kind = cudnn_choice.Result
    offsets = [getattr(kind, field).offset for field, _ in kind._fields_]
    for theirs in RESULTS:
        assert found[theirs] == [ctypes.sizeof(kind), *offsets]
