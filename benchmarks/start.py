"""How long a fresh process takes to `import caffe_spn`, beside NumPy and PyTorch."""

import subprocess
import sys
import time

RUNS = 9


def seconds(code: str) -> float:
    """The fastest of several fresh processes that run `code`, without the interpreter's start."""
    times = []
    for _ in range(RUNS):
        pair = []
        for statement in ("pass", code):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            pair.append(time.perf_counter() - begin)
        times.append(pair[1] - pair[0])
    return min(times)


def main() -> None:
    for module in ("numpy", "caffe_spn", "torch"):
        print(f"import {module}: {seconds(f'import {module}'):.2f} s", flush=True)


if __name__ == "__main__":
    main()
