"""Compare a layer's docstring with its messages and its registration."""

from __future__ import annotations

from caffe_spn.proto import caffe_pb2
from docs.layer_reference import docstring
from docs.layer_reference.docstring import Entry
from docs.layer_reference.layers import GROUPS, Described

# Fields with these words in place of a type need not repeat their default.
_WITHOUT_DEFAULT = ("accepted", "refused", "old form")
_FIELDS = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name


def problems(layer: Described) -> list[str]:
    """What is wrong or missing in the docstring of a layer type, one line for each problem."""
    found = []
    if not layer.doc.summary:
        found.append("has no docstring")
    if not layer.source:
        found.append("has no 'Source:' in its module's docstring")
    if layer.type not in " ".join(GROUPS.values()).split():
        found.append("is in no group of docs/layer_reference/layers.py")
    if not layer.code_blocks or "layer {" not in layer.code_blocks[0]:
        found.append("has no Examples section with a 'layer { ... }'")
    found += _parameter_problems(layer)
    if not layer.is_neuron:
        found += [
            f"{blob.kind} '{blob.name}' is not described"
            for blob in layer.roles
            if blob.name not in layer.blob_entries
        ]
    return [f"{layer.path}: {layer.type} {problem}" for problem in found]


def _parameter_problems(layer: Described) -> list[str]:
    """Each documented parameter must be a field, and each field a documented parameter."""
    found = []
    undocumented = {f.full_name: f for f in layer.message.fields} if layer.message else {}
    for entry in layer.parameters:
        if not entry.text:
            found.append(f"says nothing about '{', '.join(entry.names)}'")
        for name in entry.names:
            field = _field(layer, name)
            if field is None:
                found.append(f"documents '{name}', which no message of it has")
                continue
            if "." in name:  # all of a message that several types share, or nothing
                for neighbour in field.containing_type.fields:
                    undocumented.setdefault(neighbour.full_name, neighbour)
            found += _default_problems(name, entry, field)
            undocumented[field.full_name] = None
    fields = (field for field in undocumented.values() if field is not None)
    return found + [f"does not document '{f.name}' of {f.containing_type.name}" for f in fields]


def _field(layer: Described, name: str):
    """The descriptor of ``field`` of the type's own message, ``message.field``, or ``message``."""
    holder, _, member = name.rpartition(".")
    message = _FIELDS[holder].message_type if holder in _FIELDS else layer.message
    if message is not None and member in message.fields_by_name:
        return message.fields_by_name[member]
    return _FIELDS.get(name)


def _default_problems(name: str, entry: Entry, field) -> list[str]:
    stated = docstring.default(entry)
    if not field.has_default_value:
        return []  # the layer computes it, or there is none
    if stated is None:
        # Some layers have another default than their message; then the text must say so.
        if entry.type.startswith(_WITHOUT_DEFAULT) or "of caffe.proto" in entry.text:
            return []
        return [f"states no default for '{name}'; it is {true_default(field)}"]
    if value(stated) != value(true_default(field)):
        return [f"states default {stated} for '{name}'; it is {true_default(field)}"]
    return []


def true_default(field) -> str:
    """The default of a field's descriptor, as a prototxt spells it."""
    default = field.default_value
    if field.enum_type is not None:
        return field.enum_type.values_by_number[default].name
    if isinstance(default, bool):
        return str(default).lower()
    return f'"{default}"' if isinstance(default, str) else f"{default:.6g}"  # it is float32


def value(stated: str) -> object:
    """A stated default as something to compare: a number, or a word."""
    try:
        return float(stated)
    except ValueError:
        return stated.lower() if stated in ("True", "False") else stated
