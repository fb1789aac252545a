"""How a convolution's kernel moves over the map."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """Kernel size, steps and groups; each tuple has one number for each spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    group: int = 1

    @classmethod
    def square(cls, kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1, group: int = 1):
        """The same numbers for both axes of a map."""
        return cls((kernel,) * 2, (stride,) * 2, (pad,) * 2, (dilation,) * 2, group)

    def _axes(self, spatial):
        return zip(spatial, self.kernel, self.stride, self.pad, self.dilation, strict=True)

    def output_shape(self, spatial) -> tuple[int, ...]:
        """Spatial shape of the convolution of a map; below 1 where the kernel is too big.

        As in Caffe the division cuts off towards 0: a kernel that is larger than the padded map by
        less than a stride still has one position, and sees zeros beyond the map.
        """
        return tuple(
            int((n + 2 * p - d * (k - 1) - 1) / s) + 1 for n, k, s, p, d in self._axes(spatial)
        )

    def margins(self, spatial, out) -> list[tuple[int, int]]:
        """How many pixels the windows of `out` positions need before and behind each axis."""
        ends = [
            (q - 1) * s - p + d * (k - 1) + 1
            for q, (_, k, s, p, d) in zip(out, self._axes(spatial), strict=True)
        ]
        return [(p, max(p, end - n)) for n, p, end in zip(spatial, self.pad, ends, strict=True)]

    def transposed_shape(self, spatial) -> tuple[int, ...]:
        """Spatial shape of the transposed convolution (Deconvolution) of a map."""
        return tuple(s * (n - 1) + d * (k - 1) + 1 - 2 * p for n, k, s, p, d in self._axes(spatial))

    def planar(self) -> Geometry:
        """The same with two axes: missing ones have size 1 and stand in front."""
        missing = 2 - len(self.kernel)
        ones, zeros = (1,) * missing, (0,) * missing
        return Geometry(
            ones + self.kernel,
            ones + self.stride,
            zeros + self.pad,
            ones + self.dilation,
            self.group,
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Strides, pads and dilations in a row, as the compiled kernels take them."""
        return (*self.stride, *self.pad, *self.dilation)
