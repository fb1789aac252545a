"""Power, Exp and Log: powers, exponentials and logarithms of a scaled and shifted input.

Source: `PowerLayer`, `ExpLayer` and `LogLayer` of BVLC Caffe.
"""

import math

import numpy as np

from caffe_spn.layer import register
from caffe_spn.layers.neuron import NeuronLayer


def affine(x, scale, shift, out):
    """out = scale * x + shift"""
    np.multiply(x, scale, out=out)
    if shift != 0:
        out += shift


def raise_to(x, power):
    """x = x ** power, in place."""
    if power == 2:
        np.square(x, out=x)
    elif power != 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            np.power(x, power, out=x)


# In place, Caffe writes the derivative over the top's diff and then multiplies it with itself.
FLAW = "ignores the gradient from above"


class PowerFamilyLayer(NeuronLayer):
    """What the three share: how they read their base."""

    def read_base(self, param) -> float:
        """The logarithm of `base`, of which -1 stands for e."""
        if param.base == -1:
            return 1.0
        if not 0 < param.base < math.inf:
            raise self.param_error(
                f"has base {param.base:g}; it must be positive and finite",
                help="leave it out for base e",
            )
        return math.log(param.base)


@register("Power")
class Power(PowerFamilyLayer):
    """top = (shift + scale * x) ** power

    Parameters
    ----------
    power : float, default 1
        The exponent.
    scale : float, default 1
        What x is multiplied by.
    shift : float, default 0
        What is added to it.

    Notes
    -----
    With power 0 the top is 1, with scale 0 it is shift ** power; the gradient is then 0. In
    place the gradient is not the derivative (nor is Caffe's); the layer warns.

    Examples
    --------
    ::

        layer { name: "square" type: "Power" bottom: "x" top: "square" power_param { power: 2 } }
    """

    formula = ("power", "scale", "shift", "power")
    formula_in_place = "power_in_place"
    flaw_in_place = FLAW

    def setup(self, bottom, top):
        param = self.layer_param.power_param
        self.power, self.scale, self.shift = param.power, param.scale, param.shift
        self.slope = self.power * self.scale

    def forward_cpu(self, bottom, top):
        y = top[0].data
        if self.slope == 0:
            # In NumPy, since a Python power of 0 to a negative one is an exception.
            with np.errstate(divide="ignore", invalid="ignore"):
                y[...] = np.power(y.dtype.type(self.shift), y.dtype.type(self.power))
            return
        affine(bottom[0].data, self.scale, self.shift, y)
        raise_to(y, self.power)

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        self.warn_in_place(bottom, top)
        derivative = bottom[0].diff if bottom[0] is top[0] else self.workspace("d", top[0].shape)
        if self.slope == 0 or self.power == 1:
            derivative.fill(self.slope)
        elif bottom[0] is top[0] and self.power != 2:
            self._quotient(top[0].data, derivative)
        else:
            affine(bottom[0].data, self.scale, self.shift, derivative)
            raise_to(derivative, self.power - 1)
            derivative *= self.slope
        np.multiply(top[0].diff, derivative, out=bottom[0].diff)

    def _quotient(self, y, out):
        """Caffe's derivative slope * y / (shift + scale * x), with y in x's place."""
        if self.shift == 0:
            # It divides by x and multiplies by the power; y / y is 1.
            out.fill(self.power)
            return
        affine(y, self.scale, self.shift, out)
        with np.errstate(divide="ignore", invalid="ignore"):
            np.divide(y, out, out=out)
        out *= self.slope


@register("Exp")
class Exp(PowerFamilyLayer):
    """top = base ** (shift + scale * x)

    Parameters
    ----------
    base : float, default -1
        Positive; -1 stands for e.
    scale : float, default 1
        What x is multiplied by.
    shift : float, default 0
        What is added to it.

    Raises
    ------
    PrototxtError
        If the base is not positive and finite.

    Examples
    --------
    ::

        layer { name: "exp" type: "Exp" bottom: "x" top: "exp" exp_param { base: 2 } }
    """

    formula = ("exp", "inner", "outer")

    def setup(self, bottom, top):
        param = self.layer_param.exp_param
        log_base = self.read_base(param)
        self.inner = log_base * param.scale
        with np.errstate(over="ignore"):
            self.outer = float(np.exp(self.dtype.type(log_base * param.shift)))

    def forward_cpu(self, bottom, top):
        y = top[0].data
        np.multiply(bottom[0].data, self.inner, out=y)
        with np.errstate(over="ignore"):
            np.exp(y, out=y)
        if self.outer != 1:
            y *= self.outer

    def backward_cpu(self, top, propagate_down, bottom):
        if propagate_down[0]:
            diff = bottom[0].diff
            np.multiply(top[0].diff, top[0].data, out=diff)
            diff *= self.inner


@register("Log")
class Log(PowerFamilyLayer):
    """top = log(shift + scale * x), to a base

    Parameters
    ----------
    base : float, default -1
        Positive and not 1; -1 stands for e.
    scale : float, default 1
        What x is multiplied by.
    shift : float, default 0
        What is added to it.

    Raises
    ------
    PrototxtError
        If the base is 1, or not positive and finite.

    Notes
    -----
    In place the gradient is not the derivative (nor is Caffe's); the layer warns.

    Examples
    --------
    ::

        layer { name: "log" type: "Log" bottom: "x" top: "log" log_param { base: 10 shift: 1e-6 } }
    """

    formula = ("log", "scale", "shift", "per_base")
    formula_in_place = "log_in_place"
    flaw_in_place = FLAW

    def setup(self, bottom, top):
        param = self.layer_param.log_param
        self.scale, self.shift = param.scale, param.shift
        log_base = self.read_base(param)
        if log_base == 0:
            raise self.param_error(
                "has base 1, to which no logarithm exists", help="leave it out for base e"
            )
        self.per_base = 1 / log_base

    def forward_cpu(self, bottom, top):
        y = top[0].data
        affine(bottom[0].data, self.scale, self.shift, y)
        with np.errstate(divide="ignore", invalid="ignore"):
            np.log(y, out=y)
        if self.per_base != 1:
            y *= self.per_base

    def backward_cpu(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        self.warn_in_place(bottom, top)
        derivative = bottom[0].diff if bottom[0] is top[0] else self.workspace("d", top[0].shape)
        affine(bottom[0].data, self.scale, self.shift, derivative)
        with np.errstate(divide="ignore"):
            np.divide(self.scale * self.per_base, derivative, out=derivative)
        np.multiply(top[0].diff, derivative, out=bottom[0].diff)
