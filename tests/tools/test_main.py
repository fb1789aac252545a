"""The command line itself: help, versions, what is no command, errors, exit codes."""

import os
import sys

import pytest

from caffe_spn import CaffeSpnError, __version__
from caffe_spn.tools import main as cli
from tests.tools.cli import caffe_spn, error


def test_help_lists_every_command_and_is_quick(tmp_path):
    before = os.times()
    result = caffe_spn(tmp_path, "--help")
    after = os.times()
    assert result.returncode == 0
    for command in cli.COMMANDS:
        assert f"\n  {command} " in result.stdout
    # Time of the processor, not of the clock: other processes may be busy. 0.2 s are usual.
    assert after.children_user - before.children_user < 0.8


def test_help_imports_nothing_heavy(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from caffe_spn.tools.main import main\n"
        "main(['--help'])\n"
        "heavy = {'numba', 'scipy', 'skimage', 'h5py', 'matplotlib', 'tqdm', 'PIL'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    assert caffe_spn(tmp_path, "run", script).returncode == 0


def test_no_command_is_wrong_usage(tmp_path):
    assert "usage: caffe-spn" in error(tmp_path, code=2)


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"caffe-spn {__version__}\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command, capsys):
    assert cli.main(["help", command]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: caffe-spn {command}")
    assert f"\nexample:\n  caffe-spn {command}" in text
    assert "exit codes: 0" in text


def test_unknown_command_names_the_nearest(capsys):
    assert cli.main(["chekc"]) == 2
    assert capsys.readouterr().err == (
        "caffe-spn: there is no command 'chekc'\n  help: did you mean 'check'?\n"
    )
    assert cli.main(["zzz"]) == 2
    assert "caffe-spn --help lists the commands" in capsys.readouterr().err


def test_unknown_option_is_wrong_usage(capsys):
    assert cli.main(["time", "--mdoel", "x"]) == 2
    assert "usage: caffe-spn time" in capsys.readouterr().err


def _fails_with(monkeypatch, exception):
    def fail(argv):
        raise exception

    from caffe_spn.tools import device_query

    monkeypatch.setattr(device_query, "main", fail)
    return cli.main(["device_query"])


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        (CaffeSpnError("it is bad", "net.prototxt:3", "do"), "net.prototxt:3\n  it is bad\n"),
        (CaffeSpnError("it is bad"), "caffe-spn device_query: it is bad\n"),
        (PermissionError(13, "Permission denied", "x.png"), "x.png: Permission denied"),
        (MemoryError(), "not enough memory"),
        (ModuleNotFoundError("No module named 'h5py'"), "install the package again"),
        (TypeError("oops"), "unexpected TypeError: oops\n  help: this is a fault of the package"),
    ],
)
def test_errors_are_messages(exception, expected, monkeypatch, capsys):
    assert _fails_with(monkeypatch, exception) == 1
    shown = capsys.readouterr().err
    assert expected in shown
    assert "Traceback" not in shown


def test_debug_shows_the_stack(tmp_path, capsys):
    for words in (["--debug", "time", "--model", "none"], ["time", "--model", "none", "--debug"]):
        assert cli.main(words) == 1
        shown = capsys.readouterr().err
        assert "\nTraceback (most recent call last):\n" in "\n" + shown
        # The message comes last all the same.
        assert shown.splitlines()[-2:] == ["none", "  there is no such file"]


def test_ctrl_c_is_130(monkeypatch, capsys):
    assert _fails_with(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "\ncaffe-spn: stopped by Ctrl-C\n"


def test_a_reader_that_leaves_is_no_error(tmp_path):
    import subprocess

    from tests.tools.cli import command, write_tiny

    write_tiny(tmp_path)
    process = subprocess.Popen(
        command("check", *["net.prototxt"] * 200),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait()


# Running scripts


def test_run_puts_the_package_in_the_place_of_caffe(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 5")
    (tmp_path / "script.py").write_text(
        "import sys, caffe, beside\n"
        "from caffe.proto import caffe_pb2\n"
        "print(caffe.__name__, beside.VALUE, __name__, sys.argv)\n"
        "sys.exit(3)\n"
    )
    result = caffe_spn(tmp_path, "run", "script.py", "--model", "x", "-h", "--debug")
    assert result.returncode == 3
    argv = ["script.py", "--model", "x", "-h", "--debug"]
    assert result.stdout == f"caffe_spn 5 __main__ {argv}\n"


@pytest.mark.parametrize(("level", "shown"), [(None, "solver.cpp"), ("2", "")])
def test_run_logs_as_pycaffe_does(tmp_path, level, shown):
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 } } }'
    )
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1 snapshot_after_train: false'
    )
    silence = f"import os; os.environ['GLOG_minloglevel'] = '{level}'\n" if level else ""
    script = tmp_path / "solve.py"
    script.write_text(f"{silence}import caffe\ncaffe.get_solver('solver.prototxt').solve()\n")
    result = caffe_spn(tmp_path, "run", "solve.py")
    assert result.returncode == 0
    assert shown in result.stderr and bool(shown) == bool(result.stderr)


def test_run_shows_the_stack_of_the_script_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(sys, "path", list(sys.path))
    script = tmp_path / "script.py"
    script.write_text("def f():\n    return 1 / 0\n\nf()\n")
    assert cli.main(["run", str(script)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f'Traceback (most recent call last):\n  File "{script}", line 4')
    assert shown.endswith("ZeroDivisionError: division by zero\n")
    assert "runpy" not in shown


def test_run_needs_a_script(tmp_path):
    assert error(tmp_path, "run", "none.py") == "none.py\n  there is no such script\n"
