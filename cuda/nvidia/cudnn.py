"""cuDNN through ctypes: convolution and its two gradients, in float32.

Source: the cuDNN documentation, "cudnn_cnn". These functions exist in versions 8 and 9 alike.
"""

from __future__ import annotations

import ctypes
import threading
from ctypes import POINTER, byref, c_float, c_void_p
from dataclasses import dataclass

from caffe_spn.cuda.array import DeviceArray
from caffe_spn.cuda.nvidia import cudnn_choice, cudnn_descriptors, libraries
from caffe_spn.cuda.nvidia.cudnn_choice import BACKWARD_DATA, BACKWARD_FILTER, FORWARD, Choice, Pass
from caffe_spn.cuda.nvidia.cudnn_descriptors import (
    DEFAULT_MATH,
    FMA_MATH,
    Descriptors,
    NotSupported,
    call,
)
from caffe_spn.errors import DeviceError

_SIGNATURES = {
    "cudnnCreate": [POINTER(c_void_p)],
    "cudnnDestroy": [c_void_p],
    "cudnnSetStream": [c_void_p, c_void_p],
}


@dataclass(frozen=True)
class Plan:
    """How one pass over arrays of certain shapes is computed."""

    descriptors: Descriptors
    choice: Choice


class Cudnn:
    """cuDNN on an opened device.

    Parameters
    ----------
    runtime : Runtime
    library : ctypes.CDLL

    Raises
    ------
    DeviceError
        If the library's version is none of those supported, or it does not work with the device.
    """

    def __init__(self, runtime, library: ctypes.CDLL):
        self.runtime = runtime
        self.library = cudnn_choice.declare(cudnn_descriptors.declare(library))
        libraries.declare(library, _SIGNATURES)
        self.version = check_version(library)
        self.handle = c_void_p()
        self._stream = None
        self._lock = threading.Lock()
        self._plans: dict[tuple, Plan | str] = {}
        try:
            call(library, "cudnnCreate", byref(self.handle))
        except DeviceError as error:
            error.help = (
                "the library may be for another CUDA version than the driver: nvidia-cudnn-cu12"
                " is for CUDA 12, nvidia-cudnn-cu13 for CUDA 13"
            )
            raise

    def close(self) -> None:
        """Give back what the library holds on the device."""
        self._plans.clear()
        if self.handle:
            call(self.library, "cudnnDestroy", self.handle)
            self.handle = c_void_p()

    def forward(self, x: DeviceArray, w: DeviceArray, y: DeviceArray, geometry) -> None:
        """y = x convolved with w.

        Parameters
        ----------
        x, w, y : DeviceArray
            (N, C, ...), (K, C / group, ...), (N, K, ...), with two or three spatial axes.
        geometry : Geometry
            Of as many axes.

        Raises
        ------
        NotSupported
            If the library does not do it.
        DeviceError
        """
        self._run(FORWARD, (x, w, y), "xwy", geometry)

    def backward_data(
        self, y_diff: DeviceArray, w: DeviceArray, x_diff: DeviceArray, geometry
    ) -> None:
        """x_diff = the transposed convolution of y_diff with w; the rest as `forward`."""
        self._run(BACKWARD_DATA, (w, y_diff, x_diff), "wyx", geometry)

    def backward_weights(
        self, y_diff: DeviceArray, x: DeviceArray, w_diff: DeviceArray, geometry
    ) -> None:
        """Add to w_diff the derivative by the weights; the rest as `forward`."""
        self._run(BACKWARD_FILTER, (x, y_diff, w_diff), "xyw", geometry, add=True)

    def _run(self, a_pass: Pass, arrays, roles: str, geometry, add: bool = False) -> None:
        # A handle is for one thread at a time.
        with self._lock:
            self._prepare()
            try:
                self._compute(a_pass, arrays, roles, geometry, add)
            except NotSupported:
                raise
            except DeviceError:
                # The driver knows more, and says so if the device is lost.
                self.runtime.synchronize()
                raise

    def _compute(self, a_pass: Pass, arrays, roles: str, geometry, add: bool) -> None:
        plan = self._plan(a_pass, arrays, roles, geometry, add)
        first, second, result = (
            (getattr(plan.descriptors, role).handle, array.address)
            for role, array in zip(roles, arrays, strict=True)
        )
        workspace = self.runtime.scratch(plan.choice.workspace) if plan.choice.workspace else None
        one, before = c_float(1), c_float(add)
        call(
            self.library,
            a_pass.run,
            *(self.handle, byref(one), *first, *second, plan.descriptors.convolution.handle),
            *(plan.choice.algorithm, workspace and workspace.address, plan.choice.workspace),
            *(byref(before), *result),
        )

    def _plan(self, a_pass, arrays, roles, geometry, add) -> Plan:
        math = DEFAULT_MATH if libraries.tf32() else FMA_MATH
        of_role = dict(zip(roles, arrays, strict=True))
        key = (a_pass, *(of_role[role].shape for role in "xwy"), geometry, math)
        if key not in self._plans:
            try:
                self._plans[key] = self._new_plan(key, of_role, add)
            except NotSupported as error:
                # Its message only: the error itself would keep arrays alive.
                self._plans[key] = error.message
        found = self._plans[key]
        if isinstance(found, str):
            raise NotSupported(found)
        return found

    def _new_plan(self, key, of_role, add) -> Plan:
        a_pass, *shapes, geometry, math = key
        made = Descriptors(self.library, *shapes, geometry, math)
        operands = [(getattr(made, role), array) for role, array in of_role.items()]
        device = self.runtime.device
        circumstances = (self.version, device.name, device.capability, *key)
        choice = cudnn_choice.choose(self, a_pass, operands, made.convolution, add, circumstances)
        if math != FMA_MATH:
            # Where others are allowed, each algorithm names its own.
            made.convolution.set("cudnnSetConvolutionMathType", choice.math)
        return Plan(made, choice)

    def _prepare(self) -> None:
        self.runtime.enter()
        stream = self.runtime.stream
        if stream is not self._stream:
            call(self.library, "cudnnSetStream", self.handle, stream.handle)
            self._stream = stream


def check_version(library: ctypes.CDLL) -> int:
    """The library's version, such as 91002 for 9.10.2.

    Raises
    ------
    DeviceError
        If it is of a major version that is not supported.
    """
    version = library.cudnnGetVersion()
    # Since 9 the number has two digits more for the minor version.
    major = version // (10000 if version >= 90000 else 1000)
    supported = libraries.LIBRARIES["cudnn"].majors
    if major not in supported:
        known = " and ".join(map(str, sorted(supported)))
        raise DeviceError(
            f"cuDNN of version {major} ({version}) was found; {known} are supported",
            help=f"pip install {libraries.LIBRARIES['cudnn'].packages}",
        )
    return version
