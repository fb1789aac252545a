import pytest

from tests.pycaffe.lab import Lab


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder with what the checks need; it is the current directory meanwhile."""
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path, monkeypatch)
