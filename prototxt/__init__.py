"""The shipped networks and solvers, and the generators that write them.

>>> from caffe_spn import prototxt
>>> prototxt.path("helen_spn/deploy.prototxt").is_file()
True
"""

from __future__ import annotations

from pathlib import Path

from caffe_spn.errors import DataError, nearest

_FOLDER = Path(__file__).parent


def path(name: str) -> Path:
    """Where a shipped file or folder is, such as ``demo`` or ``demo/solver.prototxt``.

    Raises
    ------
    DataError
        If none has this name.
    """
    found = _FOLDER / name
    if not found.exists():
        files = [file.relative_to(_FOLDER).as_posix() for file in _FOLDER.glob("*/*.prototxt")]
        near = nearest(name, [*files, *{file.split("/")[0] for file in files}])
        raise DataError(
            f"no shipped network is called '{name}'",
            help=f"did you mean '{near}'?" if near else f"look into {_FOLDER}",
        )
    return found
