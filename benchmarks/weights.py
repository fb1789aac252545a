"""Opening and saving weights, in each form that a file may have, against the least there is to do.

`python -m benchmarks.weights` makes files of a quarter of a gigabyte and prints, for each form,

- how long it takes to copy the file into a net that is there, divided by the time of reading the
  file's bytes and copying them once, in the same process;
- how much memory that takes at its peak, the net's parameters included, divided by the file's
  size, in a process of its own;
- the same for saving, where the net is there already and the peer writes as many bytes, synced and
  renamed as a snapshot must be.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import caffe_spn as caffe
from caffe_spn import weights_io
from caffe_spn.proto import binary, caffe_pb2, text, wire
from caffe_spn.proto.files import atomic_write

LAYERS = 16
INPUTS = 256
FORMS = {
    "packed": "`.caffemodel`, as Caffe writes it",
    "h5": "`.caffemodel.h5`",
    "v1": "`.caffemodel` of the second generation, four axes",
    "double": "`.caffemodel` of doubles",
    "unpacked": "`.caffemodel` with a tag for each number",
}
SAVED = ("packed", "h5")


def definition(megabytes: float, itemsize: int) -> str:
    """A network whose weights take so many megabytes in a file."""
    outputs = max(1, round(megabytes * 1e6 / (LAYERS * INPUTS * itemsize)))
    layers = (
        f'layer {{ name: "fc{i}" type: "InnerProduct" bottom: "x" top: "y{i}"'
        f" inner_product_param {{ num_output: {outputs} bias_term: false }} }}"
        for i in range(LAYERS)
    )
    image = (
        f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: {INPUTS}'
    )
    return f"{image} }} }} }}\n" + "\n".join(layers)


def build(prototxt: str) -> caffe.Net:
    return caffe.Net(text.parse(prototxt, caffe_pb2.NetParameter()), caffe.TEST)


def write(form: str, path: str, net) -> None:
    """Write the parameters of a net in one of the forms."""
    if form == "h5":
        net.save_hdf5(path)
    elif form == "packed":
        net.save(path)
    else:
        binary.write_pieces(path, _pieces(form, net))


def _pieces(form: str, net) -> Iterator:
    for name, layer in zip(net.layer_names, net.layers, strict=True):
        for blob in layer.blobs:
            numbers = _numbers(form, blob.data)
            if form == "v1":
                shape = caffe_pb2.BlobProto(num=1, channels=1)
                shape.height, shape.width = blob.shape
            else:
                shape = caffe_pb2.BlobProto(shape={"dim": blob.shape})
            shape = shape.SerializeToString()
            size = sum(len(piece) for piece in numbers) + len(shape)
            owner = caffe_pb2.V1LayerParameter if form == "v1" else caffe_pb2.LayerParameter
            head = owner(name=name).SerializeToString()
            layers, blobs = (2, 6) if form == "v1" else (100, 7)
            inner = wire.prefix(blobs, size)
            yield from (wire.prefix(layers, len(head) + len(inner) + size), head, inner)
            yield from (shape, *numbers)


def _numbers(form: str, data: np.ndarray) -> list:
    """The field data or double_data of a BlobProto."""
    if form == "unpacked":
        tagged = np.empty(data.size, np.dtype([("tag", "u1"), ("number", "<f4")]))
        tagged["tag"], tagged["number"] = 5 << 3 | wire.FIXED32, data.reshape(-1)
        return [memoryview(tagged).cast("B")]
    raw = data.astype("<f8" if form == "double" else "<f4").tobytes()
    return [wire.prefix(8 if form == "double" else 5, len(raw)), raw]


def itemsize(form: str) -> int:
    return {"double": 8, "unpacked": 5}.get(form, 4)


def opening(path: str, net) -> dict[str, Callable[[], object]]:
    """What to compare when opening: ours, and reading the bytes and copying them once."""
    target = np.zeros(os.path.getsize(path), np.uint8)

    def least() -> None:
        with open(path, "rb") as file:
            target[...] = np.frombuffer(file.read(), np.uint8)

    return {"ours": lambda: net.copy_from(path), "least": least}


def saving(form: str, path: str, net) -> dict[str, Callable[[], object]]:
    """What to compare when saving: ours, and writing as many bytes."""
    content = np.zeros(os.path.getsize(path), np.uint8)

    def least() -> None:
        with atomic_write(path + ".least") as temporary, open(temporary, "wb") as file:
            file.write(content)

    return {"ours": lambda: write(form, path + ".ours", net), "least": least}


def peak_memory(what: str, prototxt: str, form: str, path: str) -> int:
    """Bytes that opening or saving adds to a process of its own, at its peak."""
    command = [sys.executable, "-m", "benchmarks.weights", "--memory", what, form, path]
    done = subprocess.run(command, input=prototxt, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def _measure_memory(what: str, form: str, path: str) -> int:
    import h5py  # noqa: F401  its libraries are not memory of the weights

    build(definition(0.001, 4))
    before = _status("VmRSS")
    net = build(sys.stdin.read())
    net.copy_from(path)
    if what == "open":
        return _status("VmHWM") - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    write(form, path + ".ours", net)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024


def measure(form: str, megabytes: float, folder: str, compare: Callable) -> str:
    """One row of the table; `compare` is that of `benchmarks.timing`, or another of its kind."""
    prototxt = definition(megabytes, itemsize(form))
    net = build(prototxt)
    rng = np.random.default_rng(0)
    for blob in net.learnable_params:
        blob.data[...] = rng.standard_normal(blob.shape, np.float32)
    path = os.path.join(folder, "net.caffemodel" + (".h5" if form == "h5" else ""))
    write(form, path, net)
    size = os.path.getsize(path)
    _check(path, net)
    open_time = compare(opening(path, net))
    cells = [_ratio(open_time), f"{peak_memory('open', prototxt, form, path) / size:.2f}"]
    if form in SAVED:
        cells.append(_ratio(compare(saving(form, path, net))))
        cells.append(f"{peak_memory('save', prototxt, form, path) / size:.2f}")
    else:
        cells += ["", ""]
    return f"| {FORMS[form]} | {size / 1e6:.0f} MB | {' | '.join(cells)} |"


def _check(path: str, net) -> None:
    """The file must hold what the net does, whatever its form."""
    arrays = weights_io.read_h5(path) if path.endswith(".h5") else weights_io.read_caffemodel(path)
    for name, (blob,) in net.params.items():
        np.testing.assert_array_equal(np.reshape(arrays[name][0], blob.shape), blob.data)


def _ratio(result) -> str:
    disturbed = " (disturbed)" if any(seconds.disturbed for seconds in result.values()) else ""
    return f"{result['ours'] / result['least']:.2f}{disturbed}"


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=250)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--cpu-time", action="store_true", help="for a machine that is busy with other things"
    )
    parser.add_argument("--folder", help="where to make the files; a temporary folder by default")
    parser.add_argument("--memory", nargs=3, metavar=("open|save", "FORM", "PATH"))
    options = parser.parse_args(argv)
    if options.memory:
        print(_measure_memory(*options.memory))
        return
    from benchmarks import timing

    kind = timing.processor_time if options.cpu_time else timing.compare
    compare = functools.partial(kind, repeats=options.repeats)
    print("| form | file | opening, time | memory | saving, time | memory |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for form in FORMS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(measure(form, options.megabytes, folder, compare), flush=True)


if __name__ == "__main__":
    main()
