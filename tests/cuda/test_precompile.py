"""All kernels compiled ahead, into the cache that the package then uses without a compiler."""

import pytest

from caffe_spn.cuda import precompile
from caffe_spn.cuda.compiling import compiler
from tests.cuda.compiling.compilers import StandIn


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_SPN_CACHE", str(tmp_path / "cache"))
    found = [StandIn(tmp_path / "compiler")]
    monkeypatch.setattr(compiler, "compilers", lambda: found)
    return found


def test_no_compiler_is_needed_afterwards(found, capsys):
    assert precompile.main(["8.0", "9.0"]) == 0
    names = sorted(path.name for path in compiler.SOURCES.glob("*.cu"))
    cases = [(name, options) for name in names for options in precompile.variants(name)]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        " ".join([capability, name, *options])
        for capability in ("8.0", "9.0")
        for name, options in cases
    ]
    found.clear()
    assert all(compiler.compile_cubin(name, (9, 0), options) for name, options in cases)


def test_variants_are_what_the_launcher_names(monkeypatch):
    from caffe_spn.cuda import pointwise

    assert precompile.variants("no_launcher.cu") == [()]
    monkeypatch.setattr(pointwise, "OPTIONS", (("-DA=1",), ("-DA=2",)), raising=False)
    assert precompile.variants("pointwise.cu") == [("-DA=1",), ("-DA=2",)]


def test_clear(found, capsys):
    precompile.main(["8.0"])
    assert precompile.main(["--clear"]) == 0
    assert f"{len(found[0].compiled)} entries removed" in capsys.readouterr().out
    assert list(compiler.cache_dir().iterdir()) == []


def test_gpus_at_hand(found, monkeypatch, capsys):
    monkeypatch.setattr(precompile, "at_hand", lambda: [(7, 5)])
    assert precompile.main([]) == 0
    assert set(found[0].compiled) == {"sm_75"}
    assert "\n7.5 pointwise.cu: " in capsys.readouterr().out


def test_error(found, capsys):
    assert precompile.main(["6.1"]) == 1
    assert "sm_61; the kernels need sm_75" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["9", "sm_90", "9.x", ""])
def test_what_is_no_capability(found, text, capsys):
    with pytest.raises(SystemExit):
        precompile.main([text])
    assert "no compute capability such as 9.0" in capsys.readouterr().err
