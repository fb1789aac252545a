"""LSTM and RNN on a GPU: when the GPU path is taken, and what a subclass defines for it."""

from caffe_spn.layer import Layer


class RecurrentOnGpu(Layer):
    """The GPU path of recurrent layers; what it does is in `recurrent_gpu_steps`."""

    def run_steps_gpu(self, steps, out) -> None:
        """Fill the traces and `h_in` of `steps` from index 1 on, and the output of all steps.

        Parameters
        ----------
        steps : GpuSteps
        out : DeviceArray (T, N, H)
        """
        raise NotImplementedError

    def run_steps_back_gpu(self, steps, top_diff, sums_diff, state_diffs) -> None:
        """Fill `sums_diff`, and turn the diffs of the last states into those of the first.

        For h it is the diff of its part of `h_in`: not yet multiplied by the marker.
        """
        raise NotImplementedError

    def forward_gpu(self, bottom, top):
        if self._prints_steps:
            super().forward_gpu(bottom, top)
            return
        from caffe_spn.layers.recurrent_gpu_steps import GpuSteps

        GpuSteps(self, bottom).forward(top)

    def backward_gpu(self, top, propagate_down, bottom):
        if self._prints_steps:
            super().backward_gpu(top, propagate_down, bottom)
            return
        from caffe_spn.layers.recurrent_gpu_steps import GpuSteps

        GpuSteps(self, bottom).backward(top, propagate_down)

    @property
    def _prints_steps(self) -> bool:
        # The values of all steps are then wanted on the host anyway.
        return self.layer_param.recurrent_param.debug_info
