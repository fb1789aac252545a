"""The solvers' updates on a GPU: one launch for all parameters, and two more to clip gradients."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from caffe_spn.blob import Blob
from caffe_spn.errors import DeviceError
from caffe_spn.training_log import log_clipping, logger


class GpuUpdate:
    """Updates the parameters of a net on the device; nothing is waited for.

    Parameters
    ----------
    net : Net
    param : SolverParameter
    history_blobs : list of Blob
        One for each parameter, then for some solvers a second one for each.
    """

    def __init__(self, net, param, history_blobs: Sequence[Blob]):
        from caffe_spn.cuda.runtime import runtime
        from caffe_spn.cuda.solver_update import Parameters

        self._net, self._param = net, param
        self._blobs = list(net.learnable_params)
        count = len(self._blobs)
        self._histories = [history_blobs[i::count] for i in range(count)]
        self._gpu = runtime()
        self._parameters = Parameters([blob.count for blob in self._blobs])
        # What clipping found, on its way to the host.
        self._found = self._gpu.pinned((2,))
        self._arrived = self._gpu.event()
        self._expected = False

    @property
    def usable(self) -> bool:
        """Whether the device is still open that this was made for."""
        from caffe_spn.cuda.runtime import runtime

        return self._gpu is runtime()

    def run(self, rule: str, rate: float, settings: Sequence[float]) -> None:
        """Update all parameters; see `caffe_spn.cuda.solver_update.Parameters.update`.

        Raises
        ------
        DeviceError
            Before any parameter is changed, if there is no room for all that is needed.
        """
        self.log_clipping()
        addresses = [self._addresses(i) for i in range(len(self._blobs))]
        self._parameters.place(addresses, self._net.params_lr, self._net.params_weight_decay)
        clip = None
        if self._param.clip_gradients >= 0:
            clip = self._parameters.find_clip(self._param.clip_gradients)
            if logger.isEnabledFor(logging.INFO):
                self._gpu.download(self._found, clip, self._gpu.stream)
                self._gpu.record(self._arrived)
                self._expected = True
        self._parameters.update(
            rule,
            rate,
            settings,
            1 / self._param.iter_size,
            self._param.weight_decay,
            self._param.regularization_type,
            clip,
        )

    def _addresses(self, index: int) -> tuple[int, ...]:
        # Asking for them says, too, that the device's are the newest from now on.
        blob = self._blobs[index]
        try:
            history = [h.mutable_gpu_data.address for h in self._histories[index]]
            own = blob.mutable_gpu_data.address, blob.mutable_gpu_diff.address
        except DeviceError as error:
            error.where = f"the solver's update of {self._name(blob)}"
            raise
        return (*own, *history, *[0] * (2 - len(history)))

    def _name(self, blob: Blob) -> str:
        """Layer and number of a parameter, such as ``'conv1' (0)``."""
        names = (
            f"'{layer.layer_param.name}' ({i})"
            for layer in self._net.layers
            for i, own in enumerate(layer.blobs)
            if own is blob
        )
        return next(names, "a parameter")

    def log_clipping(self) -> None:
        """Log what the last update clipped: an iteration later it is there without waiting."""
        if self._expected and self._gpu.driver.lost is None:
            self._expected = False
            self._gpu.synchronize(self._arrived)
            scale, norm = (float(number) for number in self._found)
            log_clipping(norm, self._param.clip_gradients, scale)
