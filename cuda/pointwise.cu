// The layers that map each element on its own: one line for each formula and direction.
//
// FORWARD(name, (parameters), y) makes the kernel name_forward(bottom, top, parameters...), in which
// y is an expression in x. BACKWARD(name, (parameters), dx) makes
// name_backward(bottom, top, top_diff, bottom_diff, parameters...), in which dx, the bottom's diff, is
// one in x, y and the top's diff dy. The output may be any of the inputs.
//
// The formulas are those of the layers' CPU paths, so that their notes hold here too.
#include "vectors.cuh"

#define LIST(...) __VA_ARGS__

#define FORWARD(NAME, PARAMETERS, TOP)                                                         \
    extern "C" __global__ void NAME##_forward(const float *bottom, float *top, LIST PARAMETERS) { \
        map(top, count, [=](float x) -> float { return TOP; }, bottom);                        \
    }

#define BACKWARD(NAME, PARAMETERS, BOTTOM_DIFF)                                            \
    extern "C" __global__ void NAME##_backward(const float *bottom, const float *top,      \
                                               const float *top_diff, float *bottom_diff,  \
                                               LIST PARAMETERS) {                          \
        map(bottom_diff, count,                                                            \
            [=](float x, float y, float dy) -> float { return BOTTOM_DIFF; }, bottom, top, \
            top_diff);                                                                     \
    }

// Divide: nearer to 0 than this, the divisor is +-SMALLEST.
#define SMALLEST 1e-6f

__device__ __forceinline__ float guarded(float x) {
    return fabsf(x) < SMALLEST ? copysignf(SMALLEST, x) : x;
}

// The derivative of alpha / x, from y; 0 where the guard made y a constant.
__device__ __forceinline__ float divide_slope(float y, float alpha) {
    return alpha == 0 || fabsf(y) >= fabsf(alpha / SMALLEST) ? 0 : -1 / alpha * (y * y);
}

__device__ __forceinline__ float sign(float x) {
    return x > 0 ? 1 : x < 0 ? -1 : x;  // NaN stays
}

__device__ __forceinline__ float sigmoid(float x) {
    // Neither y nor 1 - y loses digits this way, whichever is the smaller.
    const float small = expf(-fabsf(x));
    return (x < 0 ? small : 1) / (1 + small);
}

// Power: with scale 0, x does not count, be it NaN.
__device__ __forceinline__ float affine(float x, float scale, float shift) {
    return scale == 0 ? shift : scale * x + shift;
}

__device__ __forceinline__ float raised(float x, float power) {
    return power == 1 ? x : power == 2 ? x * x : powf(x, power);
}

__device__ __forceinline__ float power_slope(float x, float scale, float shift, float power) {
    const float slope = power * scale;
    return slope == 0 || power == 1 ? slope : slope * raised(affine(x, scale, shift), power - 1);
}

// In place, Power and Log have Caffe's gradient: the derivative at the top's values, squared.
__device__ __forceinline__ float power_slope_in_place(float y, float scale, float shift,
                                                      float power) {
    const float slope = power * scale;
    if (slope == 0 || power == 1) return slope;
    if (power == 2) return slope * affine(y, scale, shift);
    return shift == 0 ? power : slope * (y / affine(y, scale, shift));
}

__device__ __forceinline__ float square(float x) { return x * x; }

// With slope 0 it is no factor: -inf * 0 would be NaN.
FORWARD(relu, (int count, float slope), x <= 0 ? (slope == 0 ? 0 : slope * x) : x)
BACKWARD(relu, (int count, float slope), dy * (x > 0 ? 1 : slope))

FORWARD(elu, (int count, float alpha), x > 0 ? x : alpha * expm1f(x))
BACKWARD(elu, (int count, float alpha), dy * (x > 0 ? 1 : alpha + y))

FORWARD(sigmoid, (int count), sigmoid(x))
BACKWARD(sigmoid, (int count), dy * (y * (1 - y)))

FORWARD(tanh, (int count), tanhf(x))
BACKWARD(tanh, (int count), dy * (1 - y * y))

FORWARD(absval, (int count), fabsf(x))
BACKWARD(absval, (int count), dy * sign(x))

FORWARD(bnll, (int count), fmaxf(x, 0) + log1pf(expf(-fabsf(x))))
BACKWARD(bnll, (int count), dy * sigmoid(x))

FORWARD(swish, (int count, float beta), x * sigmoid(beta * x))
BACKWARD(swish, (int count, float beta), dy * (sigmoid(beta * x) + beta * y * sigmoid(-beta * x)))

FORWARD(clip, (int count, float low, float high), x != x ? x : fmaxf(fminf(x, high), low))
BACKWARD(clip, (int count, float low, float high), dy * (x >= low && x <= high ? 1 : 0))

FORWARD(threshold, (int count, float threshold), x > threshold ? 1 : 0)

FORWARD(divide, (int count, float alpha), alpha / guarded(x))
BACKWARD(divide, (int count, float alpha), dy * divide_slope(y, alpha))

FORWARD(exp, (int count, float inner, float outer), outer * expf(inner * x))
BACKWARD(exp, (int count, float inner, float outer), dy * y * inner)

FORWARD(log, (int count, float scale, float shift, float per_base),
        logf(scale * x + shift) * per_base)
BACKWARD(log, (int count, float scale, float shift, float per_base),
         dy * (scale * per_base / (scale * x + shift)))
BACKWARD(log_in_place, (int count, float scale, float shift, float per_base),
         square(scale * per_base / (scale * y + shift)))

FORWARD(power, (int count, float scale, float shift, float power),
        raised(affine(x, scale, shift), power))
BACKWARD(power, (int count, float scale, float shift, float power),
         dy * power_slope(x, scale, shift, power))
BACKWARD(power_in_place, (int count, float scale, float shift, float power),
         square(power_slope_in_place(y, scale, shift, power)))
