import pytest

from tests.pycaffe.lab import Lab
from tests.tools.conftest import restore_process  # noqa: F401 (autouse)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder with what the checks need; it is the current directory meanwhile."""
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path, monkeypatch)
