"""`python -m benchmarks`: print the tables of docs/performance.md, one after the other."""

import subprocess
import sys

# Each in a process of its own: PyTorch and Numba bring thread pools, and memory is measured.
BENCHMARKS = ("recurrence", "convolution", "layers", "training_step", "feeding", "weights", "start")


def main() -> int:
    for name in BENCHMARKS:
        print(f"\n== {name}\n", flush=True)
        code = subprocess.call([sys.executable, "-m", f"benchmarks.{name}"])
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
