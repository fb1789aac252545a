"""The parameters that a net learns: named ones are shared between layers."""

from __future__ import annotations

from caffe_spn.blob import Blob
from caffe_spn.errors import ShapeError
from caffe_spn.layer import Layer
from caffe_spn.proto import caffe_pb2


class LearnableParams:
    """The parameters of a net in the order of its definition, shared ones once.

    Attributes
    ----------
    blobs : list of Blob
    lr, weight_decay : list of float or None
        The multiplier of each; None stands for "not stated".
    """

    def __init__(self):
        self.blobs: list[Blob] = []
        self.lr: list[float | None] = []
        self.weight_decay: list[float | None] = []
        # By name: the layer that has it, and its index here.
        self._owners: dict[str, tuple[str, int]] = {}

    def add(self, layer: Layer, index: int, spec) -> None:
        """Add a layer's parameter, or let it share the memory of one with the same name.

        Raises
        ------
        CaffeSpnError
            If what is shared differs in its shape or what is stated for it.
        """
        blob = layer.blobs[index]
        lr = spec.lr_mult if spec.HasField("lr_mult") else None
        decay = spec.decay_mult if spec.HasField("decay_mult") else None
        if not spec.name or spec.name not in self._owners:
            if spec.name:
                self._owners[spec.name] = (layer.layer_param.name, len(self.blobs))
            self.blobs.append(blob)
            self.lr.append(lr)
            self.weight_decay.append(decay)
            return
        owner_name, learnable = self._owners[spec.name]
        owner = self.blobs[learnable]
        permissive = spec.share_mode == caffe_pb2.ParamSpec.PERMISSIVE
        fits = owner.count == blob.count if permissive else owner.shape == blob.shape
        if not fits:
            raise ShapeError(
                f"shared param '{spec.name}' has shape {owner.shape} in layer '{owner_name}'"
                f" and {blob.shape} here",
                where=layer.where,
                help="share_mode: PERMISSIVE shares parameters of equal count"
                if owner.count == blob.count
                else "only parameters of equal count can be shared",
            )
        for field, stated, known in (
            ("lr_mult", lr, self.lr),
            ("decay_mult", decay, self.weight_decay),
        ):
            if stated is not None and known[learnable] not in (None, stated):
                raise layer.param_error(
                    f"shared param '{spec.name}' has {field} {stated:g} here and"
                    f" {known[learnable]:g} in an earlier layer",
                    help=f"state {field} once, or the same everywhere",
                )
            if stated is not None:
                known[learnable] = stated
        blob.share_data(owner)
        blob.share_diff(owner)
