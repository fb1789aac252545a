"""BatchReindex: choose, repeat and reorder the examples of a batch.

Source: `BatchReindexLayer` of BVLC Caffe.
"""

from caffe_spn.layer import Layer, register
from caffe_spn.layers.indices import (
    add_rows,
    examples,
    on_device,
    put_rows,
    read_indices,
    refuse_gradient,
    take_rows,
)


@register("BatchReindex", bottoms=("data", "index"), in_place=False)
class BatchReindex(Layer):
    """top[i] = data[index[i]]

    The gradients of an example that was chosen several times add up; that of one which was not
    chosen is 0.

    Bottoms, tops
    -------------
    data : (N, ...)
    index : (M,)
        Integers from 0 to N - 1; fractions are cut off. There is no gradient for it.
    top : (M, ...)

    Raises
    ------
    ShapeError
        If `index` does not have one axis, or `data` has none.
    DataError
        If an index is negative, not a number, or N or more.

    Examples
    --------
    ::

        layer { name: "pick" type: "BatchReindex" bottom: "data" bottom: "index" top: "y" }
    """

    no_backward_bottoms = (1,)

    def reshape(self, bottom, top):
        data, index = bottom[0].shape, bottom[1].shape
        if len(index) != 1:
            raise self.shape_error(
                f"bottom 1 (index) is {index}; it must have one axis, with an index for each"
                " example of the top",
                help="put a Flatten or Reshape layer in front of it",
            )
        if not data:
            raise self.shape_error(
                "bottom 0 (data) is a single number; it must have a batch axis",
                help="put a Reshape layer in front of it",
            )
        top[0].reshape(index[0], *data[1:])

    def forward_cpu(self, bottom, top):
        rows = bottom[0].shape[0]
        kind = f"the batch size of bottom 0 (data), {bottom[0].shape}"
        self.indices = read_indices(self, bottom[1], 1, rows, kind)
        take_rows(bottom[0].data, self.indices, top[0].data)

    def backward_cpu(self, top, propagate_down, bottom):
        refuse_gradient(self, propagate_down, 1, "indices")
        if propagate_down[0]:
            bottom[0].diff.fill(0)
            add_rows(top[0].diff, self.indices, bottom[0].diff)

    # As in Embed, the indices are read on the host.

    def forward_gpu(self, bottom, top):
        from caffe_spn.cuda import rows

        count = bottom[0].shape[0]
        kind = f"the batch size of bottom 0 (data), {bottom[0].shape}"
        self.indices = read_indices(self, bottom[1], 1, count, kind)
        numbers = on_device(self, "indices", self.indices)
        rows.take_rows(examples(bottom[0].gpu_data), numbers, examples(top[0].new_gpu_data))

    def backward_gpu(self, top, propagate_down, bottom):
        refuse_gradient(self, propagate_down, 1, "indices")
        if propagate_down[0]:
            put_rows(self, top[0].gpu_diff, self.indices, bottom[0].new_gpu_diff)
