"""caffe-spn resize_and_crop_images: squares of one size, as Caffe's resize_and_crop_images.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from caffe_spn.data.ordered_map import THREADS, ordered_map
from caffe_spn.errors import CaffeSpnError, DataError
from caffe_spn.tools import arguments
from caffe_spn.tools.progress import progress

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")


def parser() -> arguments.Parser:
    parser = arguments.Parser(
        "resize_and_crop_images",
        """
        Resize each image so that its shorter side has the given length, and keep the square in
        the middle. Names and folders stay the same, under another folder. An image that cannot
        be read is named and left out; the exit code is 1 then.
        """,
        """
        caffe-spn resize_and_crop_images --input_folder photos --output_folder squares
        caffe-spn resize_and_crop_images --input images.txt --input_folder photos \\
            --output_folder squares --output_side_length 256 --num_clients 8
        """,
    )
    parser.add_argument("--input_folder", required=True, metavar="DIR", help="where images are")
    parser.add_argument("--output_folder", required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--input",
        metavar="LIST",
        help="a text file with the names of images in the folder, one on each line, with or"
        " without a label; by default all images of the folder and those below it",
    )
    parser.add_argument(
        "--output_side_length",
        type=arguments.positive,
        default=256,
        metavar="N",
        help="the side of the squares in pixels (256)",
    )
    parser.add_argument(
        "--image_lib",
        type=str.lower,
        choices=("opencv", "pil"),
        default="opencv",
        help="opencv: as OpenCV resizes, without smoothing; pil: as Pillow does, with smoothing"
        " (opencv)",
    )
    parser.add_argument(
        "--num_clients",
        type=arguments.positive,
        default=THREADS,
        metavar="N",
        help="how many images to work on at a time (one for each core, at most 8)",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    options = parser().parse_args(argv)
    source, target = options.input_folder, options.output_folder
    if not os.path.isdir(source):
        raise DataError("there is no such folder", where=source)
    if os.path.isdir(target) and os.path.samefile(source, target):
        raise CaffeSpnError(
            "the output folder is the input folder; the images would be lost",
            where=target,
            help="name another one",
        )
    names = read_names(options.input, source) if options.input else find_names(source)
    # With the qualities in which Caffe's tool writes JPEG; other formats have no such thing.
    crop, quality = {"opencv": (crop_as_opencv, 95), "pil": (crop_as_pillow, 75)}[options.image_lib]
    work = partial(_work, crop, quality, source, target, options.output_side_length)
    done = ordered_map(work, names, options.num_clients)
    errors = [error for error in progress(done, "image", len(names)) if error]
    for error in errors:
        print(error, file=sys.stderr)
    print(f"{len(names) - len(errors)} of {len(names)} images are in {target}")
    return 1 if errors else 0


def find_names(folder: str) -> list[str]:
    """The images in a folder and below it, relative to it and sorted."""
    names = []
    for path, _, files in os.walk(folder):
        found = (os.path.join(path, name) for name in files if name.lower().endswith(EXTENSIONS))
        names += [os.path.relpath(name, folder) for name in found]
    if not names:
        raise DataError(f"holds no image ({', '.join(EXTENSIONS)})", where=folder)
    return sorted(names)


def read_names(path: str, folder: str) -> list[str]:
    """The names in a list, relative to the folder of the images, without labels."""
    if not os.path.isfile(path):
        raise DataError("there is no such list of images", where=path)
    names = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, _, label = line.strip().rpartition(" ")
            name = name.strip() if name and label.isdecimal() else line.strip()
            if name:
                names.append(os.path.relpath(name, folder) if os.path.isabs(name) else name)
    if not names:
        raise DataError("the list of images is empty", where=path)
    return names


def _work(
    crop: Callable, quality: int, source: str, target: str, side: int, name: str
) -> str | None:
    """Write one square; returns what went wrong."""
    output = os.path.join(target, name)
    try:
        square = crop(os.path.join(source, name), side)
        os.makedirs(os.path.dirname(output), exist_ok=True)
        square.save(output, quality=quality)
    except CaffeSpnError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"{output}\n  cannot be written: {error}"
    return None


def crop_as_opencv(path: str, side: int):
    """The middle square of an image, as a `PIL.Image`: resized bilinearly, without smoothing."""
    from PIL import Image

    from caffe_spn.data.images import read_image, resize

    image = read_image(path)
    height, width = image.shape[:2]
    shorter = min(height, width)
    resized = resize(image, side * height // shorter, side * width // shorter)
    top, left = (resized.shape[0] - side) // 2, (resized.shape[1] - side) // 2
    square = resized[top : top + side, left : left + side, ::-1]
    return Image.fromarray(np.ascontiguousarray(square))


def crop_as_pillow(path: str, side: int):
    """The middle square of an image, as a `PIL.Image`: resized with Lanczos' filter."""
    from PIL import Image, ImageOps

    from caffe_spn.data.images import read_image

    image = Image.fromarray(np.ascontiguousarray(read_image(path)[:, :, ::-1]))
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
