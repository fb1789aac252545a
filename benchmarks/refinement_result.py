"""The file in which a finished training leaves its scores, and what its model is called."""

from __future__ import annotations

from benchmarks.refinement_network import CONNECTIONS

RESULT = "result.json"

TITLES = {"dsb2018": "DSB 2018", "fassegv3": "FASSEG v3"}
MODELS = {"none": "no propagation", "one-way": "one-way", "three-way": "three-way"}
# Of the design that is compared; others are named.
UNITS = 2


def name_of(result: dict) -> str:
    units = "" if result["units"] == UNITS else f"_{result['units']}unit"
    return f"{result['set']}_{result['connection']}{units}_{result['seed']}"


def model_of(result: dict) -> str:
    """What the tables call a result's model."""
    model = MODELS[result["connection"]]
    return model if result["units"] == UNITS else f"{model}, {result['units']} unit"


assert set(MODELS) == set(CONNECTIONS)
