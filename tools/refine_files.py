"""Which files `caffe-spn refine` reads and writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from caffe_spn.data.coarse_files import READERS
from caffe_spn.data.voc import IMAGE_SUFFIXES
from caffe_spn.errors import CaffeSpnError, DataError

COARSE_SUFFIXES = (*READERS, ".png")


@dataclass
class Job:
    """One image with its coarse map, perhaps its truth, and where the results go."""

    image: str
    coarse: str
    truth: str | None
    output: str

    @property
    def name(self) -> str:
        return os.path.splitext(os.path.basename(self.image))[0]

    def written(self, suffix: str) -> str:
        """The path of a result: `suffix` behind the image's name."""
        return os.path.join(self.output, self.name + suffix)


def find_jobs(paths: Sequence[str], truth: str | None, output: str) -> list[Job]:
    """Pair images with coarse maps.

    Parameters
    ----------
    paths : sequence of str
        Image, coarse map, image, coarse map ...; or a folder of each.
    truth : str, optional
        A folder of label maps; or a file, when there is one image.
    output : str
        The folder for results.

    Raises
    ------
    DataError
        If a file or a partner is missing, or a result would overwrite an input or another.
    """
    if len(paths) % 2:
        raise CaffeSpnError(
            f"{len(paths)} paths make no pairs of image and coarse map",
            help="IMAGE COARSE [IMAGE COARSE ...], or a folder of images and one of coarse maps",
        )
    pairs = []
    for image, coarse in zip(paths[::2], paths[1::2], strict=True):
        if os.path.isdir(image) != os.path.isdir(coarse) and os.path.exists(coarse):
            raise DataError(
                "is paired with a file, one of them being a folder",
                where=image if os.path.isdir(image) else coarse,
                help="give two files or two folders",
            )
        pairs += _in_folders(image, coarse) if os.path.isdir(image) else [(image, coarse)]
    for path in [path for pair in pairs for path in pair]:
        if not os.path.isfile(path):
            raise DataError("there is no such file", where=path)
    if truth is not None and os.path.isfile(truth) and len(pairs) > 1:
        raise DataError(
            f"is one file, but there are {len(pairs)} images", where=truth, help="name a folder"
        )
    jobs = [Job(image, coarse, _truth(truth, image), output) for image, coarse in pairs]
    _check_results(jobs)
    return jobs


def _in_folders(images: str, coarse: str) -> list[tuple[str, str]]:
    available = set(os.listdir(coarse))
    pairs = []
    for file in sorted(os.listdir(images)):
        stem, suffix = os.path.splitext(file)
        if suffix.lower() not in IMAGE_SUFFIXES:
            continue
        partner = next((stem + s for s in COARSE_SUFFIXES if stem + s in available), None)
        if partner is None:
            raise DataError(
                f"'{stem}' has no coarse map",
                where=coarse,
                help=f"looked for {stem} with {', '.join(COARSE_SUFFIXES)}",
            )
        pairs.append((os.path.join(images, file), os.path.join(coarse, partner)))
    if not pairs:
        raise DataError("has no images", where=images, help=f"known: {', '.join(IMAGE_SUFFIXES)}")
    return pairs


def _truth(truth: str | None, image: str) -> str | None:
    if truth is None or os.path.isfile(truth):
        return truth
    path = os.path.join(truth, os.path.splitext(os.path.basename(image))[0] + ".png")
    if not os.path.isfile(path):
        raise DataError("there is no such label map", where=path)
    return path


def _check_results(jobs: Sequence[Job]) -> None:
    inputs = {
        os.path.realpath(path): path
        for job in jobs
        for path in (job.image, job.coarse, job.truth)
        if path
    }
    seen: dict[str, str] = {}
    for job in jobs:
        for suffix in (".png", ".npz", "_compare.png"):
            path = os.path.realpath(job.written(suffix))
            if path in inputs:
                raise DataError(
                    "is an input, and a result would be written over it",
                    where=inputs[path],
                    help="choose another folder with -o",
                )
            if path in seen:
                raise DataError(
                    f"has the name of {seen[path]}; their results would have one name",
                    where=job.image,
                    help="refine them in two calls, each with its own -o",
                )
            seen[path] = job.image
