"""From a solver's definition to the definitions of its nets, with Caffe's rules of counting.

A net comes from one of `net`, `net_param`, `train_net`, `train_net_param`; test nets from
`test_net_param` and `test_net`, and then from `net` or `net_param` once for each `test_iter` that
is left.

Source: `Solver::InitTrainNet`, `Solver::InitTestNets` and `ReadSolverParamsFromTextFileOrDie` of
BVLC Caffe.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from caffe_spn import device
from caffe_spn.errors import PrototxtError
from caffe_spn.graph.upgrade import upgrade_solver
from caffe_spn.proto import caffe_pb2, text
from caffe_spn.training_log import logger


@dataclass
class NetDefinition:
    """One net that a solver needs: its definition, where it came from, and its weights' files."""

    param: object
    origin: str
    file: str | None


class SolverDefinition:
    """A SolverParameter, with the file it came from.

    Parameters
    ----------
    source : str, path or SolverParameter
        A file is read as prototxt. Older forms (`solver_type`) are upgraded.

    Attributes
    ----------
    param : SolverParameter
        A copy; `snapshot_prefix` is set as Caffe sets it for a file: to the file's name without
        its extension when it is not stated, and to that name inside it when it is a folder.
    path : str or None
        The file.

    Notes
    -----
    Files that the definition names are looked for in the current directory, as in Caffe, and then
    beside the solver's file.
    """

    def __init__(self, source):
        self.path: str | None = None
        if isinstance(source, (str, os.PathLike)):
            self.path = os.fspath(source)
            source = text.read(self.path, caffe_pb2.SolverParameter)
        try:
            self.param = upgrade_solver(source)
        except PrototxtError as error:
            raise self.error(error.message, error.help) from error
        if self.path is not None:
            self._default_snapshot_prefix()

    def error(self, message: str, help: str | None = None) -> PrototxtError:
        return PrototxtError(message, where=self.path, help=help)

    def find(self, name: str) -> str:
        """The path of a file that the definition names."""
        if self.path is not None and not os.path.isabs(name) and not os.path.exists(name):
            beside = os.path.join(os.path.dirname(self.path), name)
            if os.path.exists(beside):
                return beside
        return name

    def check(self) -> None:
        """Refuse settings that make no sense, whatever the nets are."""
        param = self.param
        for name in ("average_loss", "iter_size"):
            if getattr(param, name) < 1:
                raise self.error(
                    f"{name} is {getattr(param, name)}; it must be at least 1",
                    help=f"leave {name} out for 1",
                )
        if param.snapshot and not param.HasField("snapshot_prefix"):
            raise self.error(
                "states snapshot, but no snapshot_prefix", help='e.g. snapshot_prefix: "my_net"'
            )
        wants_gpu = param.solver_mode == caffe_pb2.SolverParameter.GPU
        if param.HasField("solver_mode") and wants_gpu and device.mode() != device.GPU:
            failure = device.failure()
            logger.warning(
                "the solver asks for the GPU (solver_mode: GPU); computing on the CPU: %s",
                "set_mode_gpu() was not called" if failure is None else failure.message,
            )

    def train_net(self) -> NetDefinition:
        """The net to train.

        Raises
        ------
        PrototxtError
            If none is stated, or more than one.
        """
        param = self.param
        fields = ("net", "net_param", "train_net", "train_net_param")
        stated = [name for name in fields if param.HasField(name)]
        if len(stated) != 1:
            raise self.error(
                f"states {', '.join(stated) or 'no net to train'}; a solver trains exactly one net",
                help=f"state one of: {', '.join(fields)}",
            )
        net = self._generic_net() or (
            self._from_file("train_net", param.train_net)
            if param.HasField("train_net")
            else NetDefinition(_copy(param.train_net_param), "train_net_param", None)
        )
        self._set_state(net, caffe_pb2.TRAIN, param.train_state)
        return net

    def test_nets(self) -> list[NetDefinition]:
        """The nets to test with, in Caffe's order.

        Raises
        ------
        PrototxtError
            If `test_iter`, `test_state` or `test_interval` do not fit their number.
        """
        param = self.param
        own = len(param.test_net_param) + len(param.test_net)
        count = len(param.test_iter)
        generic = param.HasField("net") or param.HasField("net_param")
        if count < own or (count > own and not generic):
            raise self.error(
                f"has {count} test_iter for {own} test nets",
                help="state test_iter once for each test net",
            )
        if param.test_state and len(param.test_state) != count:
            raise self.error(
                f"has {len(param.test_state)} test_state for {count} test nets",
                help="state test_state once for each test net, or not at all",
            )
        if count and param.test_interval <= 0:
            raise self.error(
                f"test_interval is {param.test_interval}; with test nets it must be positive",
                help="state after how many iterations to test, e.g. test_interval: 500",
            )
        nets = [NetDefinition(_copy(p), "test_net_param", None) for p in param.test_net_param]
        nets += [self._from_file("test_net", name) for name in param.test_net]
        nets += [self._generic_net() for _ in range(count - own)]
        for index, net in enumerate(nets):
            state = param.test_state[index] if param.test_state else caffe_pb2.NetState()
            self._set_state(net, caffe_pb2.TEST, state)
        return nets

    def weights(self) -> list[str]:
        """The files of the field `weights`; an entry may name several, with commas between."""
        names = [name.strip() for entry in self.param.weights for name in entry.split(",")]
        if "" in names:
            raise self.error(
                f"weights names no file in {', '.join(map(repr, self.param.weights))}",
                help="leave the field out, or the comma",
            )
        return [self.find(name) for name in names]

    def _generic_net(self) -> NetDefinition | None:
        if self.param.HasField("net_param"):
            return NetDefinition(_copy(self.param.net_param), "net_param", None)
        if self.param.HasField("net"):
            return self._from_file("net", self.param.net)
        return None

    def _from_file(self, field: str, name: str) -> NetDefinition:
        path = self.find(name)
        return NetDefinition(text.read(path, caffe_pb2.NetParameter), f"{field} file: {name}", path)

    @staticmethod
    def _set_state(net: NetDefinition, phase: int, stated) -> None:
        # The phase gives way to the net's own state, and that to the solver's.
        state = caffe_pb2.NetState(phase=phase)
        state.MergeFrom(net.param.state)
        state.MergeFrom(stated)
        net.param.state.CopyFrom(state)

    def _default_snapshot_prefix(self) -> None:
        stem = os.path.splitext(self.path)[0]
        if not self.param.HasField("snapshot_prefix"):
            self.param.snapshot_prefix = stem
        elif os.path.isdir(self.param.snapshot_prefix):
            self.param.snapshot_prefix = os.path.join(
                self.param.snapshot_prefix, os.path.basename(stem)
            )


def _copy(param):
    copy = caffe_pb2.NetParameter()
    copy.CopyFrom(param)
    return copy
