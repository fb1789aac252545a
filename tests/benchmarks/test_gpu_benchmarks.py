"""`make bench-gpu` on the emulated GPU: everything runs and agrees; the numbers mean nothing."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu as bench
from benchmarks import (
    gpu_arrays,
    gpu_lines,
    gpu_network_rows,
    gpu_networks,
    gpu_recurrence,
    registers,
)
from benchmarks.gpu_cases import Fused, LeftRight, TopBottom
from benchmarks.gpu_clock import Clock, Time, significant
from benchmarks.gpu_parts import Log, Parts, markdown, time_limit
from benchmarks.gpu_peers import Lines, Torch
from benchmarks.gpu_recurrence_rows import HEADERS, TARGETS, Row, Target
from caffe_spn.cuda import runtime
from tests.cuda.compiling.compilers import real
from tests.cuda.emulation import blas
from tests.cuda.emulation.build import compiler
from tests.cuda.emulation.driver import EmulatedDriver

SHAPES = ((2, 3, 6, 9), (1, 2, 9, 4), (1, 1, 1, 5), (1, 1, 5, 1))


@pytest.fixture
def device():
    """The emulated GPU, also where there is a real one: its numbers are not wanted here."""
    if compiler() is None:
        pytest.skip("there is no g++ to compile the kernels for the CPU with")
    before = runtime.install(EmulatedDriver())
    try:
        blas.install(runtime.runtime())
        yield runtime.runtime()
    finally:
        gpu_networks.caffe.set_mode_cpu()
        runtime.restore(before)


@pytest.fixture
def random(device):
    return gpu_arrays.Random(device, 100)


def quiet_parts(seconds=600.0):
    return Parts(Log(), seconds)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def tables(text):
    """The tables of a text, each a list of dicts; columns of the same name get a number."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = block.splitlines()
        names = [f"{name} {i}" if name == "x" else name for i, name in enumerate(cells(lines[0]))]
        assert set(cells(lines[1])) == {"---"}
        found.append([dict(zip(names, cells(line), strict=True)) for line in lines[2:]])
    return found


# What is compared computes the same


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", [LeftRight, TopBottom, Fused])
def test_a_launch_for_each_line_computes_the_same(random, kind, shape):
    case = kind(random, shape)
    lines = Lines(case)
    for name in ("forward", "backward"):
        gpu_arrays.check(name, case.results(name), lines.results(name))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", [LeftRight, TopBottom, Fused])
@pytest.mark.parametrize("chunk", [None, 2])
def test_pytorch_computes_the_same(random, kind, shape, chunk):
    pytest.importorskip("torch")
    case = kind(random, shape)
    torch = Torch(case, chunk=chunk)
    for name in ("forward", "backward"):
        gpu_arrays.check(name, case.results(name), torch.results(name))


def test_every_set_of_arrays_is_ready_for_the_backward_pass(random, device):
    case = Fused(random, (1, 2, 4, 4), sets=3)
    for i in range(3):
        gpu_arrays.poison(device, case.sets[i].guidance_diff)
        case.run("backward", i)
        assert np.isfinite(gpu_arrays.head(device, case.sets[i].guidance_diff)).all()
    assert case.sets[0].x.address != case.sets[1].x.address


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_what_differs_is_not_measured(wrong):
    values = np.arange(9, dtype=np.float32)
    gpu_arrays.check("forward", [values], [values])
    with pytest.raises(ArithmeticError, match="forward: result 1 differs by"):
        gpu_arrays.check("forward", [values, values], [values, values * np.float32(wrong)])


def test_results_hold_nan_where_nothing_is_written(random):
    case = LeftRight(random, (1, 1, 3, 4))
    case.forward = lambda i: None
    assert np.isnan(case.results("forward")[0]).all()


def test_random_arrays_are_filled_to_the_end(random, device):
    made = random.normal(7, 51)
    values = gpu_arrays.head(device, made)
    assert np.isfinite(values).all() and values.std() > 0.5
    gates = gpu_arrays.head(device, random.gate(301))
    assert np.abs(gates).max() <= 1 / 3


def test_the_comparison_compiles_for_gpus():
    """Without warnings, in so many registers that it is no worse than it must be."""
    uses = registers.measure(real("nvcc"), [(Path(gpu_lines.SOURCE), ())], (75, 90))
    assert {use.kernel for use in uses} >= {"line_forward", "line_backward", "normalise"}
    assert not any(use.spilled for use in uses)
    assert max(use.registers for use in uses) <= 64


# The tables


def test_the_table_of_the_recurrence(device, tmp_path, capsys):
    log = tmp_path / "bench.log"
    assert bench.measure(device, Log(log), quick=True, only="recurrence")
    captured = capsys.readouterr()
    assert captured.out.startswith("Emulated GPU (compute capability 9.0")
    (rows,) = tables(captured.out)
    assert len(rows) == len(gpu_recurrence.QUICK_SHAPES) * 7
    for row in rows:
        assert float(row["µs"].rstrip(" *")) > 0
        assert float(row["bound, µs"]) > 0
        assert row["registers"] == "32"
        if row["pass"] != "forward, training":
            assert float(row["line by line, µs"].rstrip(" *")) > 0
    assert [(r["kernel"], r["pass"], r["bytes/element"]) for r in rows[:7]] == [
        ("left-right", "forward", "20"),
        ("left-right", "backward", "40"),
        ("top-bottom", "forward", "20"),
        ("top-bottom", "backward", "40"),
        ("fused", "forward", "56"),
        ("fused", "forward, training", "57"),
        ("fused", "backward", "109"),
    ]
    assert "our kernels: fused" in captured.err
    assert tables(log.read_text(encoding="utf-8")) == [rows]


@pytest.mark.parametrize("index", [0, 2])
def test_the_table_of_networks(device, monkeypatch, capsys, index):
    pytest.importorskip("torch")
    rows = gpu_networks.rows(quick=True)
    monkeypatch.setattr(gpu_networks, "rows", lambda quick: [rows[index]])
    assert bench.measure(device, Log(), quick=True, only="networks")
    ((row,),) = tables(capsys.readouterr().out)
    assert row["network"] == "helen_spn"
    assert float(row["ms"]) > 0 and int(row["launches"]) > 50
    assert row["copies"] == ("1" if "training" in row["what"] else "0")
    assert float(row["peak / both"]) >= 1
    assert float(row["PyTorch eager, ms"]) > 0


@pytest.mark.slow
def test_all_networks(device, capsys):
    assert bench.measure(device, Log(), quick=True, only="networks")
    (rows,) = tables(capsys.readouterr().out)
    assert [row["target"] for row in rows] == ["1.5 ms", "8 ms", "5 times", "1 times"]
    assert all(row["met"] in ("yes", "no") for row in rows)


def test_a_part_that_fails_is_shown_and_ends_nothing(device, monkeypatch, capsys):
    def fail(*arguments):
        raise RuntimeError("planted")

    monkeypatch.setattr(gpu_recurrence, "Lines", fail)
    assert not bench.measure(device, Log(), quick=True, only="recurrence")
    out = capsys.readouterr().out
    assert "FAILED: line by line: fused 1x2x8x12: RuntimeError: planted" in out
    (rows,) = tables(out)
    assert {row["line by line, µs"] for row in rows} == {""}
    assert all(float(row["µs"].rstrip(" *")) > 0 for row in rows)


def test_without_pytorch_the_rest_is_measured(device, monkeypatch, capsys):
    def missing(gpu):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(gpu_recurrence, "torch_device", missing)
    assert bench.measure(device, Log(), quick=True, only="recurrence")
    assert "Note: PyTorch is left out: No module named 'torch'" in capsys.readouterr().out


def test_targets():
    assert Target(us=10).met(9.9, 1) and not Target(us=10).met(10.1, 1)
    assert Target(bounds=2).met(19, 10) and not Target(bounds=2).met(21, 10)
    assert [str(Target(us=10)), str(Target(bounds=2.5))] == ["10 µs", "2.5 x bound"]
    assert all(
        any(key == (kind.kind, shape, name) for kind in gpu_recurrence.KINDS for name in kind.bytes)
        for key in TARGETS
        for shape in gpu_recurrence.SHAPES
        if key[1] == shape
    )


def test_the_bound_and_the_target_of_a_row():
    row = Row(LeftRight, (16, 8, 1024, 1024), "forward", Time(700.0, 30.0), registers=(161,))
    found = dict(zip(HEADERS, row.cells(4e6), strict=False))
    # 2^27 elements of 20 bytes at 4 TB/s.
    assert found["bound, µs"] == "671"
    assert found["of copy"] == "96 %"
    assert (found["target"], found["met"]) == ("800 µs", "yes")


def test_a_network_s_target():
    row = gpu_networks.rows(quick=False)[3]
    row.ms, row.blobs, row.peak = 10.0, 100, 110
    row.torch = {"eager": 12.0, "graph": 9.0}
    found = dict(zip(gpu_network_rows.HEADERS, row.cells(), strict=True))
    assert (found["fastest / ours"], found["met"]) == ("0.90", "no")
    assert found["peak / both"] == "1.10"


# The clock


def test_a_call_s_time_is_the_median_of_its_repeats(device, monkeypatch):
    clock = Clock(device, quick=True)
    clock.repeats = 3
    times = iter([5.0, 8.0, 100.0, 9.0])
    monkeypatch.setattr(clock, "elapsed", lambda function: next(times))
    assert clock.time(lambda i: None).us == 9.0


def test_the_same_arrays_or_others(device):
    clock = Clock(device, quick=True)
    clock.most_calls = 4
    for cached, wanted in ((True, {0}), (False, {0, 1, 2, 3})):
        seen = set()
        clock.time(lambda i, seen=seen: seen.add(i), cached=cached)
        assert seen == wanted


def test_a_device_that_waits_for_the_host_is_marked():
    assert str(Time(12.345, 1, by_host=True)) == "12.3 *"
    assert [significant(v) for v in (0, 0.01234, 1.0, 123.4, 12345.6)] == [
        *("0", "0.0123", "1.00", "123", "12346")
    ]


# Parts


def test_parts_end_in_time():
    parts = quiet_parts(0.5)
    assert parts.attempt("late", lambda: 1, 60) is None
    assert parts.notes == ["late: left out, there was no time left"]
    assert not parts.failures


def test_a_part_that_takes_too_long_is_ended():
    import time

    parts = quiet_parts()
    assert parts.attempt("long", lambda: time.sleep(30), 1) is None
    assert parts.failures == ["long: TimeoutError: it took more than 1 s"]
    with time_limit(5):
        pass


def test_what_is_optional_may_fail():
    parts = quiet_parts()
    parts.attempt("extra", lambda: 1 / 0, 10, optional=True)
    assert parts.notes == ["extra: ZeroDivisionError: division by zero"]
    assert not parts.failures


def test_markdown():
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_without_a_gpu_the_program_says_so(monkeypatch, capsys, tmp_path):
    def none(ordinal):
        raise runtime.DeviceError("the GPU was asked for, but there is no NVIDIA driver")

    monkeypatch.setattr("caffe_spn.set_device", none)
    assert bench.main(["--log", str(tmp_path / "log")]) == 1
    assert "needs an NVIDIA GPU" in capsys.readouterr().err
    assert not (tmp_path / "log").exists()
