"""Spatial propagation element by element, for tests."""

import numpy as np

# Whether a direction scans columns, and backwards.
DIRECTIONS = ((True, False), (True, True), (False, False), (False, True))
THREE_WAY, ONE_WAY = 0, 1
SUM_ABS, CLIP, NONE = 0, 1, 2
MAX, SUM, MEAN = 0, 1, 2
# Their names in a prototxt.
CONNECTIONS = ("THREE_WAY", "ONE_WAY")
NORMALIZATIONS = ("SUM_ABS", "CLIP", "NONE")
INTEGRATIONS = ("MAX", "SUM", "MEAN")

SHAPES = {
    "wide": (2, 3, 7, 19),
    "tall": (1, 2, 21, 5),
    "single": (1, 1, 1, 1),
    "row": (1, 2, 1, 9),
    "column": (2, 1, 9, 1),
    "tiles": (1, 5, 32, 48),
    "blocks": (1, 2, 70, 131),
}


def definition(connection="THREE_WAY", normalization="SUM_ABS", integration="MAX", units=1):
    """The layer's definition as text."""
    return (
        f'type: "SpatialPropagation" spatial_propagation_param {{ connection: {connection}'
        f" normalization: {normalization} integration: {integration} units: {units} }}"
    )


def expected_scan(x, gates, direction):
    """h of one direction; gates is three maps of the shape of x."""
    horizontal, reverse = DIRECTIONS[direction]
    h = np.zeros(x.shape)
    N, C, H, W = x.shape
    steps, width = (W, H) if horizontal else (H, W)
    for n, c in np.ndindex(N, C):
        order = range(steps)[::-1] if reverse else range(steps)
        for t in order:
            for k in range(width):
                at = (n, c, k, t) if horizontal else (n, c, t, k)
                value, rest = 0.0, 1.0
                for gate, shift in zip(gates, (-1, 0, 1), strict=True):
                    before = t + 1 if reverse else t - 1
                    if not (0 <= before < steps and 0 <= k + shift < width):
                        continue  # the gate counts as 0
                    neighbour = (k + shift, before) if horizontal else (before, k + shift)
                    value += gate[at] * h[(n, c, *neighbour)]
                    rest -= gate[at]
                h[at] = rest * x[at] + value
    return h


def split(guidance, channels, connection):
    """The guidance as gates[direction][i]; one-way gets zeros for the outer two."""
    count = 1 if connection == ONE_WAY else 3
    blocks = np.split(guidance.astype(np.float64), guidance.shape[1] // channels, axis=1)
    gates = [blocks[d * count : (d + 1) * count] for d in range(4)]
    if connection == ONE_WAY:
        zero = np.zeros_like(blocks[0])
        gates = [[zero, g[0], zero] for g in gates]
    return gates


def normalised(gates, normalization):
    if normalization == NONE:
        return gates
    s = sum(np.abs(g) for g in gates)
    divisor = np.maximum(s, 1e-6 if normalization == SUM_ABS else 1)
    return [g / divisor for g in gates]


def expected_propagation(x, guidance, connection=THREE_WAY, normalization=SUM_ABS, integration=MAX):
    x = x.astype(np.float64)
    scans = [
        expected_scan(x, normalised(gates, normalization), d)
        for d, gates in enumerate(split(guidance, x.shape[1], connection))
    ]
    return {MAX: np.maximum.reduce, SUM: sum, MEAN: lambda s: sum(s) / 4}[integration](scans)


def random_inputs(shape, connection=THREE_WAY, dtype=np.float32, seed=0):
    """x and guidance; the gates are small enough that no normalisation is unstable."""
    rng = np.random.default_rng(seed)
    N, C, H, W = shape
    channels = (4 if connection == ONE_WAY else 12) * C
    x = rng.standard_normal(shape).astype(dtype)
    guidance = (0.4 * rng.standard_normal((N, channels, H, W))).astype(dtype)
    return x, guidance
