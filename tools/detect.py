"""caffe-spn detect: a net's predictions for windows of images, as Caffe's detect.py."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Sequence

import numpy as np

from caffe_spn.errors import CaffeSpnError, DataError
from caffe_spn.tools import arguments
from caffe_spn.tools.image_options import add_image_options, check_folder, image_settings
from caffe_spn.tools.progress import progress

EDGES = ("ymin", "xmin", "ymax", "xmax")


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "detect",
        """
        Classify windows of images with a trained network, as R-CNN does.

        IN is a .csv file with the columns filename, ymin, xmin, ymax and xmax, in any order; or,
        for windows proposed by Selective Search, which needs MATLAB, a .txt file with the name of
        an image on each line.

        OUT is a .csv file with the columns filename, ymin, xmin, ymax, xmax, class0, class1, ...;
        or a .h5 file with the datasets filename, window (ymin, xmin, ymax, xmax) and prediction.
        (Caffe's own script writes a table of the pandas library there.)
        """,
        """
        caffe-spn detect --model_def deploy.prototxt --pretrained_model rcnn.caffemodel \\
            --mean_file mean.npy windows.csv detections.csv
        """,
    )
    parser.add_argument("input_file", metavar="IN", help="windows (.csv) or images (.txt)")
    parser.add_argument("output_file", metavar="OUT", help="the .csv or .h5 file to write")
    parser.add_argument(
        "--crop_mode",
        choices=("list", "selective_search"),
        help="where windows come from; by default 'list' for a .csv file",
    )
    add_image_options(parser)
    parser.add_argument(
        "--context_pad",
        type=int,
        default=16,
        metavar="N",
        help="pixels of the network's input that show what is around a window (16)",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    options = arguments.parse(parser(), argv)
    check_folder(options.output_file)
    print("GPU mode" if options.gpu else "CPU mode")
    write = _writer(options.output_file)
    settings = image_settings(options)
    if settings["mean"] is not None and settings["mean"].ndim == 3:
        # A window can lie anywhere in its image: each channel has one mean.
        settings["mean"] = settings["mean"].mean(axis=(1, 2))
    from caffe_spn.detector import Detector

    started = time.perf_counter()
    print("Loading input...")
    is_table = options.input_file.lower().endswith("csv")
    images = read_windows(options.input_file) if is_table else _read_names(options.input_file)
    mode = options.crop_mode or ("list" if is_table else "selective_search")
    if mode == "list" and not is_table:
        raise CaffeSpnError(
            "crop_mode 'list' needs the windows in a .csv file", where=options.input_file
        )
    detector = Detector(
        options.model_def,
        options.pretrained_model,
        context_pad=options.context_pad,
        **settings,
    )
    if mode == "list":
        pairs = images.items()
        detections = detector.detect_windows(progress(pairs, "image", total=len(images)))
    else:
        detections = detector.detect_selective_search(list(images))
    print(f"Processed {len(detections)} windows in {time.perf_counter() - started:.3f} s.")
    started = time.perf_counter()
    write(options.output_file, detections)
    print(f"Saved to {options.output_file} in {time.perf_counter() - started:.3f} s.")
    return 0


def _read_names(path: str) -> list[str]:
    if not path.lower().endswith("txt"):
        raise CaffeSpnError("is neither a .csv nor a .txt file", where=path)
    with open(path, encoding="utf-8") as lines:
        names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError("names no image", where=path)
    return names


def read_windows(path: str) -> dict[str, list[tuple[int, ...]]]:
    """Read the windows (ymin, xmin, ymax, xmax) of images from a table.

    Raises
    ------
    DataError
        If a column is missing, or a line has no numbers in it; it names the line.
    """
    windows: dict[str, list[tuple[int, ...]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in ("filename", *EDGES) if name not in columns]
        if missing:
            raise DataError(
                f"has no column {', '.join(missing)}",
                where=f"{path}:1",
                help="the first line names the columns: filename, ymin, xmin, ymax, xmax",
            )
        reader.fieldnames = columns
        for row in reader:
            try:
                window = tuple(int(float(row[edge])) for edge in EDGES)
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"{', '.join(EDGES)} must be numbers; they are"
                    f" {', '.join(str(row[edge]) for edge in EDGES)}",
                    where=f"{path}:{reader.line_num}",
                ) from error
            windows.setdefault(row["filename"], []).append(window)
    if not windows:
        raise DataError("has no window", where=path)
    return windows


def _writer(path: str):
    extension = os.path.splitext(path)[1].lower()
    if extension == ".csv":
        return write_csv
    if extension in (".h5", ".hdf5"):
        return write_h5
    raise CaffeSpnError("is neither a .csv nor a .h5 file", where=path)


def write_csv(path: str, detections: Sequence[dict]) -> None:
    """Write detections as a table, one column for each number of a prediction."""
    classes = range(np.size(detections[0]["prediction"]))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", *EDGES, *(f"class{number}" for number in classes)])
        for found in detections:
            writer.writerow([found["filename"], *found["window"], *np.ravel(found["prediction"])])


def write_h5(path: str, detections: Sequence[dict]) -> None:
    """Write detections as three datasets of equal length."""
    import h5py

    with h5py.File(path, "w") as file:
        file["filename"] = [found["filename"] for found in detections]
        file["window"] = np.array([found["window"] for found in detections])
        file["prediction"] = np.stack([found["prediction"] for found in detections])
