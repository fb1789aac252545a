"""Crop: cut a blob to the size of another one.

Source: `CropLayer` of BVLC Caffe.
"""

from caffe_spn.layer import Layer, register


@register("Crop", bottoms=("data", "reference"), in_place=False)
class Crop(Layer):
    """top = data[..., offset : offset + size], along all axes from one on

    The size is that of `reference`.

    Parameters
    ----------
    axis : int, default 2
        The first axis to cut; may count from the back.
    offset : int, once or for each of those axes, default 0
        Where the cut begins.

    Bottoms
    -------
    data : (N, C, H, W), or with any axes
    reference : with as many axes or more
        Only its shape is used; its gradient is zero.

    Tops
    ----
    top : (N, C, h, w)
        The shape of `data` before `axis`, that of `reference` from there on.

    Raises
    ------
    ShapeError
        If the axis does not exist, the offsets are not one for each axis, or the cut reaches
        beyond the data.

    Examples
    --------
    ::

        layer {
          name: "score" type: "Crop" bottom: "upscore" bottom: "image" top: "cropped"
          crop_param { axis: 2 offset: 4 }
        }
    """

    def reshape(self, bottom, top):
        data, reference = bottom[0].shape, bottom[1].shape
        start = self.axis(bottom[0], self.layer_param.crop_param.axis)
        offsets = self._offsets(data, start)
        if len(reference) < len(data):
            raise self.shape_error(
                f"bottom 1 (reference) is {reference}; it must have the {len(data)} axes of"
                f" bottom 0 (data), {data}",
                help="insert axes of size 1 with Reshape",
            )
        shape = list(data)
        self.window = [slice(None)] * start
        for i, offset in enumerate(offsets, start=start):
            if offset + reference[i] > data[i]:
                raise self.shape_error(
                    f"cannot cut {reference[i]} from {data[i]} elements along axis {i} with"
                    f" offset {offset}: bottom 0 (data) is {data}, bottom 1 (reference)"
                    f" {reference}",
                    help="reduce the offset, or pad the layers below",
                )
            shape[i] = reference[i]
            self.window.append(slice(offset, offset + reference[i]))
        self.window = tuple(self.window)
        self.starts = [0] * start + offsets
        top[0].reshape(*shape)

    def _offsets(self, data, start: int) -> list[int]:
        offsets = list(self.layer_param.crop_param.offset)
        axes = len(data) - start
        if len(offsets) <= 1:
            return (offsets or [0]) * axes
        if len(offsets) != axes:
            raise self.shape_error(
                f"has {len(offsets)} offsets for the {axes} axes from {start} on of bottom 0"
                f" (data), {data}",
                help="state offset once for all axes, or once for each",
            )
        return offsets

    def forward_cpu(self, bottom, top):
        top[0].data[...] = bottom[0].data[self.window]

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            bottom[0].diff.fill(0)
            bottom[0].diff[self.window] = top[0].diff
        if propagate_down[1]:
            bottom[1].diff.fill(0)

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import copy

        copy.cut_window(bottom[0].gpu_data, top[0].new_gpu_data, self.starts)

    def backward_gpu(self, top, propagate_down, bottom):
        from caffe_spn.cuda import copy
        from caffe_spn.cuda.runtime import runtime

        for wanted, blob in zip(propagate_down, bottom, strict=True):
            if wanted:
                runtime().zero(blob.new_gpu_diff)
        if propagate_down[0]:
            copy.put_window(top[0].gpu_diff, bottom[0].mutable_gpu_diff, self.starts)
