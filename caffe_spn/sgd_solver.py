"""Stochastic gradient descent, and what all solver types do around their own step.

Source: `SGDSolver` of BVLC Caffe.
"""

from __future__ import annotations

import numpy as np

from caffe_spn import device, lr_policy, update_rules
from caffe_spn.blob import Blob
from caffe_spn.errors import DeviceError, PrototxtError
from caffe_spn.gpu_room import advise
from caffe_spn.gpu_update import GpuUpdate
from caffe_spn.solver_definition import SolverDefinition
from caffe_spn.training import Solver
from caffe_spn.training_log import info, log_clipping

# Elements that are updated at a time: a block and its histories stay in the processor's cache.
BLOCK = 1 << 16


class SGDSolver(Solver):
    """Stochastic gradient descent: V = momentum V + lr (G + decay W), W -= V.

    G is the gradient after clipping to `clip_gradients` (the L2 norm of all of them together) and
    division by `iter_size`. `lr_mult` and `decay_mult` of each parameter scale lr and decay.
    Parameters as in `Solver`.

    Attributes
    ----------
    history_blobs : list of Blob
        What `history` has the arrays of; under the GPU it stays there.
    """

    type = "SGD"
    rule = "sgd"
    histories = 1

    def __init__(self, source, create_snapshot_dir: bool = False, allow_python: bool = True):
        super().__init__(source, create_snapshot_dir, allow_python)
        self._check_regularization()
        params = self.net.learnable_params
        self.history_blobs = [
            Blob(blob.shape, blob.dtype) for _ in range(self.histories) for blob in params
        ]
        self.net.history_blobs = self.history_blobs
        self._scratch: dict = {}
        self._gpu_update: GpuUpdate | None = None

    @property
    def history(self) -> list[np.ndarray]:
        return [blob.data for blob in self.history_blobs]

    @classmethod
    def check(cls, definition):
        super().check(definition)
        try:
            lr_policy.check(definition.param)
        except PrototxtError as error:
            raise definition.error(error.message, error.help) from error

    @classmethod
    def _refuse_momentum(cls, definition: SolverDefinition) -> None:
        momentum = definition.param.momentum
        if momentum:
            raise definition.error(
                f"momentum is {momentum:g}; {cls.type} has none",
                help="remove momentum, or choose another type",
            )

    @classmethod
    def _check_fraction(cls, definition: SolverDefinition, name: str) -> None:
        value = getattr(definition.param, name)
        if not 0 <= value < 1:
            raise definition.error(
                f"{name} is {value:g}; {cls.type} needs 0 <= {name} < 1",
                help=f"it is the share of the past in a running mean, e.g. {name}: 0.9",
            )

    def _check_regularization(self) -> None:
        kind = self.param.regularization_type
        decays = self.param.weight_decay and any(self.net.params_weight_decay)
        if decays and kind not in ("L1", "L2"):
            raise self._definition.error(
                f"unknown regularization_type '{kind}'", help="one of: L1, L2"
            )

    @property
    def lr(self) -> float:
        step = lr_policy.next_step(self.param, self.iter, self.current_step)
        return float(np.float32(lr_policy.learning_rate(self.param, self.iter, step)))

    def apply_update(self) -> None:
        self._advance_policy()
        rate = self.lr
        if self._due(self.param.display):
            info(f"Iteration {self.iter}, lr = {rate:g}", "sgd_solver.cpp:105")
        if self._on_gpu():
            self._update_on_gpu(rate)
        else:
            self._update_on_cpu(rate)
        self.iter += 1

    def _on_gpu(self) -> bool:
        params = self.net.learnable_params
        return device.mode() == device.GPU and all(b.dtype == np.float32 for b in params)

    def _update_on_gpu(self, rate: float) -> None:
        try:
            if self._gpu_update is None or not self._gpu_update.usable:
                self._gpu_update = GpuUpdate(self.net, self.param, self.history_blobs)
            self._gpu_update.run(self.rule, rate, self._settings())
        except DeviceError as error:
            advise(error, self.net)
            error.where = error.where or "the solver's update"
            raise

    def _update_on_cpu(self, rate: float) -> None:
        with np.errstate(all="ignore"):  # what is not finite shows in the loss, and stops there
            scale = self._clip_scale() / self.param.iter_size
            for index in range(len(self.net.learnable_params)):
                self._update_parameter(index, rate, scale)

    def step(self, n: int) -> None:
        try:
            super().step(n)
        finally:
            if self._gpu_update is not None:
                self._gpu_update.log_clipping()

    def _advance_policy(self) -> None:
        step = lr_policy.next_step(self.param, self.iter, self.current_step)
        if step != self.current_step and self.param.lr_policy == "multistep":
            info(f"MultiStep Status: Iteration {self.iter}, step = {step}", "sgd_solver.cpp:58")
        self.current_step = step

    def _clip_scale(self) -> float:
        limit = self.param.clip_gradients
        if limit < 0:
            return 1.0
        norm = update_rules.gradient_norm(
            [blob.diff.reshape(-1) for blob in self.net.learnable_params]
        )
        scale = update_rules.clip_scale(norm, limit)
        log_clipping(norm, limit, scale)
        return scale

    def _update_parameter(self, index: int, rate: float, scale: float) -> None:
        blob = self.net.learnable_params[index]
        decay = self.param.weight_decay * self.net.params_weight_decay[index]
        rate *= self.net.params_lr[index]
        data, diff = blob.data.reshape(-1), blob.diff.reshape(-1)
        count = len(self.net.learnable_params)
        histories = [b.data.reshape(-1) for b in self.history_blobs[index::count]]
        scratch = self._scratch_of(blob.dtype)
        for start in range(0, blob.count, BLOCK):
            block = slice(start, start + BLOCK)
            if scale != 1:
                diff[block] *= scale
            if decay:
                kind = self.param.regularization_type
                update_rules.regularize(diff[block], data[block], decay, kind, scratch)
            self._step(diff[block], [h[block] for h in histories], rate, scratch)
            data[block] -= diff[block]

    def _scratch_of(self, dtype) -> np.ndarray:
        if dtype not in self._scratch:
            self._scratch[dtype] = np.empty(2 * BLOCK, dtype)
        return self._scratch[dtype]

    def _step(self, diff, histories, rate: float, scratch) -> None:
        """Turn the gradient in `diff` into what is subtracted from the parameter."""
        step = getattr(update_rules, self.rule)
        step(diff, *histories, rate, *self._settings(), scratch)

    def _settings(self) -> tuple[float, ...]:
        """What the function `rule` of `update_rules` takes after the rate."""
        return (self.param.momentum,)
