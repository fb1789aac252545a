"""Write the pages: Markdown, one for each layer type, and an index."""

from __future__ import annotations

from docs.layer_reference.docstring import Entry, default, entries, markdown, without_default
from docs.layer_reference.layers import GROUPS, Described

_INDEX = """\
# Layers

The types of layers that a prototxt can name, one page for each. The fields that every layer has,
the fillers and `transform_param` are in [every-layer.md](every-layer.md). In shapes N counts the
examples of a batch, C the channels, H and W rows and columns; `()` is a single number.

From Python, `caffe_spn.layers.TYPE(bottom, ..., field=value)` makes a layer for a `NetSpec`, as in
pycaffe, and `caffe_spn.layer_type_list()` names the types.
"""

# Messages that are described in one place, and where.
_SHARED = {"FillerParameter": "fillers", "TransformationParameter": "transformation-of-images"}


def pages(layers: dict[str, Described]) -> dict[str, str]:
    """File name to content, for all types and the index."""
    files = {f"{name}.md": page(layer) for name, layer in layers.items()}
    return files | {"README.md": index(layers)}


def index(layers: dict[str, Described]) -> str:
    """The list of all types, in groups."""
    parts = [_made_by("layers/*.py"), _INDEX]
    for title, names in GROUPS.items():
        rows = [
            (f"[{name}]({name}.md)", _summary(layers[name]))
            for name in names.split()
            if name in layers
        ]
        parts.append(f"## {title}\n\n{_table(('type', ''), rows)}\n")
    return "\n".join(parts)


def page(layer: Described) -> str:
    """The page of one type."""
    lead = _formula(layer) or layer.doc.summary
    parts = [
        _made_by(layer.path),
        f"# {layer.type}",
        f"```\n{lead}\n```" if _formula(layer) else lead,
        markdown(layer.doc.body),
        markdown(layer.module_text),
        _section("Parameters", _parameters(layer)),
        _section("Bottoms, tops", _blobs(layer)),
        _section("Learned parameters", _definitions(layer, "Blobs")),
        _section("Errors", _definitions(layer, "Raises")),
        _section("Notes", markdown(layer.doc.sections.get("Notes", ""))),
        _section("Example", markdown(layer.example)),
        _section("Source", f"{markdown(layer.source)} Code: [{layer.path}](../../{layer.path})."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _made_by(path: str) -> str:
    return f"<!-- Made from {path} by python -m docs.layer_reference; edit it there. -->"


def _formula(layer: Described) -> str:
    """The docstring's first line, if it is a formula."""
    return layer.doc.summary.replace("`", "") if " = " in layer.doc.summary else ""


def _summary(layer: Described) -> str:
    return f"`{_formula(layer)}`" if _formula(layer) else layer.doc.summary


def _section(title: str, text: str) -> str:
    return text and f"## {title}\n\n{text}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *cells])


def _names(entry: Entry) -> str:
    return ", ".join(f"`{name}`" for name in entry.names)


def _parameters(layer: Described) -> str:
    if not layer.parameters:
        return "None."
    rows = [
        (_names(entry), _type(entry), _default(entry), entry.text) for entry in layer.parameters
    ]
    table = _table(("field", "type", "default", ""), rows)
    if not layer.field:
        return table
    own = layer.message.fields_by_name
    others = [name for entry in layer.parameters for name in entry.names if name not in own]
    beside = f"; beside it, {', '.join(f'`{name}`' for name in others)}" if others else ""
    return f"In `{layer.field} {{ }}`{beside}:\n\n{table}"


def _type(entry: Entry) -> str:
    """With a link where the type is a message that many layers share."""
    words = without_default(entry)
    for message, section in _SHARED.items():
        words = words.replace(message, f"[{message}](every-layer.md#{section})")
    return words


def _default(entry: Entry) -> str:
    """As a prototxt spells it."""
    stated = default(entry) or ""
    return stated.lower() if stated in ("True", "False") else stated


def _blobs(layer: Described) -> str:
    if not layer.roles:
        return ""
    described = layer.blob_entries
    rows = []
    for blob in layer.roles:
        entry = described.get(blob.name) or Entry((blob.name,), "any; the same for both", "")
        shape = entry.type.removesuffix(", optional")  # the kind says so
        rows.append((f"`{blob.name}`", blob.kind, shape, entry.text))
    parts = [_table(("name", "", "shape", ""), rows), _behaviour(layer)]
    return "\n\n".join(part for part in parts if part)


def _behaviour(layer: Described) -> str:
    """What the registration says: computing in place, and bottoms without a gradient."""
    bottoms = [blob.name for blob in layer.roles if blob.kind.startswith("bottom")]
    without = [f"`{bottoms[i]}`" for i in layer.target.no_backward_bottoms if i < len(bottoms)]
    sentences = []
    if layer.is_neuron and layer.target.in_place_allowed:
        sentences.append("It may compute in place.")
    if bottoms and not layer.target.in_place_allowed:
        sentences.append("It cannot compute in place.")
    if without:
        sentences.append(f"{' and '.join(without)} can have no gradient.")
    return " ".join(sentences)


def _definitions(layer: Described, title: str) -> str:
    lines = []
    for entry in entries(layer.doc.sections.get(title, "")):
        rest = ". ".join(" ".join(part.split()) for part in (entry.type, entry.text) if part)
        lines.append(f"- {_names(entry)}: {rest}")
    return "\n".join(lines)
