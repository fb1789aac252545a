// The layers that map each element on its own, one kernel for each formula and direction.
//
// NAME_forward states y as an expression in x, NAME_backward the bottom's diff as one in x, y and the
// top's diff dy. What is written may be any of what is read. The formulas are those of the layers'
// CPU paths, so that their notes hold here too.
#include "vectors.cuh"

#define FORWARD const float *bottom, float *top, int count
#define TOP(Y) map(top, count, [=](float x) -> float { return Y; }, bottom)

#define BACKWARD \
    const float *bottom, const float *top, const float *top_diff, float *bottom_diff, int count
// An expression that does not depend on x or y does not read them either.
#define BOTTOM_DIFF(DX)                                                                      \
    map(                                                                                     \
        bottom_diff, count,                                                                  \
        [=]([[maybe_unused]] float x, [[maybe_unused]] float y, float dy) -> float { return DX; }, \
        bottom, top, top_diff)

// With slope 0 it is no factor: -inf * 0 would be NaN.
extern "C" __global__ void relu_forward(FORWARD, float slope) {
    TOP(x <= 0 ? (slope == 0 ? 0 : slope * x) : x);
}
extern "C" __global__ void relu_backward(BACKWARD, float slope) {
    BOTTOM_DIFF(dy * (x > 0 ? 1 : slope));
}

extern "C" __global__ void elu_forward(FORWARD, float alpha) {
    TOP(x > 0 ? x : alpha * expm1f(x));
}
extern "C" __global__ void elu_backward(BACKWARD, float alpha) {
    BOTTOM_DIFF(dy * (x > 0 ? 1 : alpha + y));
}

__device__ __forceinline__ float sigmoid(float x) {
    // Neither y nor 1 - y loses digits this way, whichever is the smaller.
    const float small = expf(-fabsf(x));
    return (x < 0 ? small : 1) / (1 + small);
}

extern "C" __global__ void sigmoid_forward(FORWARD) {
    TOP(sigmoid(x));
}
extern "C" __global__ void sigmoid_backward(BACKWARD) {
    BOTTOM_DIFF(dy * (y * (1 - y)));
}

extern "C" __global__ void tanh_forward(FORWARD) {
    TOP(tanhf(x));
}
extern "C" __global__ void tanh_backward(BACKWARD) {
    BOTTOM_DIFF(dy * (1 - y * y));
}

__device__ __forceinline__ float sign(float x) {
    return x > 0 ? 1 : x < 0 ? -1 : x;  // NaN stays
}

extern "C" __global__ void absval_forward(FORWARD) {
    TOP(fabsf(x));
}
extern "C" __global__ void absval_backward(BACKWARD) {
    BOTTOM_DIFF(dy * sign(x));
}

extern "C" __global__ void bnll_forward(FORWARD) {
    TOP(fmaxf(x, 0) + log1pf(expf(-fabsf(x))));
}
extern "C" __global__ void bnll_backward(BACKWARD) {
    BOTTOM_DIFF(dy * sigmoid(x));
}

extern "C" __global__ void swish_forward(FORWARD, float beta) {
    TOP(x * sigmoid(beta * x));
}
extern "C" __global__ void swish_backward(BACKWARD, float beta) {
    BOTTOM_DIFF(dy * (sigmoid(beta * x) + beta * y * sigmoid(-beta * x)));
}

extern "C" __global__ void clip_forward(FORWARD, float low, float high) {
    TOP(x != x ? x : fmaxf(fminf(x, high), low));
}
extern "C" __global__ void clip_backward(BACKWARD, float low, float high) {
    BOTTOM_DIFF(dy * (x >= low && x <= high ? 1 : 0));
}

extern "C" __global__ void threshold_forward(FORWARD, float threshold) {
    TOP(x > threshold ? 1 : 0);
}

const float SMALLEST = 1e-6f;  // nearer to 0 the divisor is this, or its negative

__device__ __forceinline__ float guarded(float x) {
    return fabsf(x) < SMALLEST ? copysignf(SMALLEST, x) : x;
}

// The derivative of alpha / x, from y; 0 where the guard made y a constant.
__device__ __forceinline__ float divide_slope(float y, float alpha) {
    return alpha == 0 || fabsf(y) >= fabsf(alpha / SMALLEST) ? 0 : -1 / alpha * (y * y);
}

extern "C" __global__ void divide_forward(FORWARD, float alpha) {
    TOP(alpha / guarded(x));
}
extern "C" __global__ void divide_backward(BACKWARD, float alpha) {
    BOTTOM_DIFF(dy * divide_slope(y, alpha));
}

extern "C" __global__ void exp_forward(FORWARD, float inner, float outer) {
    TOP(outer * expf(inner * x));
}
extern "C" __global__ void exp_backward(BACKWARD, float inner, float outer) {
    BOTTOM_DIFF(dy * y * inner);
}

// In place, Log and Power have Caffe's gradient: the derivative at the top's values, squared.
__device__ __forceinline__ float square(float x) { return x * x; }

extern "C" __global__ void log_forward(FORWARD, float scale, float shift, float per_base) {
    TOP(logf(scale * x + shift) * per_base);
}
extern "C" __global__ void log_backward(BACKWARD, float scale, float shift, float per_base) {
    BOTTOM_DIFF(dy * (scale * per_base / (scale * x + shift)));
}
extern "C" __global__ void log_in_place_backward(BACKWARD, float scale, float shift,
                                                 float per_base) {
    BOTTOM_DIFF(square(scale * per_base / (scale * y + shift)));
}

// With scale 0, x does not count, be it NaN.
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

__device__ __forceinline__ float power_slope_in_place(float y, float scale, float shift,
                                                      float power) {
    const float slope = power * scale;
    if (slope == 0 || power == 1) return slope;
    if (power == 2) return slope * affine(y, scale, shift);
    return shift == 0 ? power : slope * (y / affine(y, scale, shift));
}

extern "C" __global__ void power_forward(FORWARD, float scale, float shift, float power) {
    TOP(raised(affine(x, scale, shift), power));
}
extern "C" __global__ void power_backward(BACKWARD, float scale, float shift, float power) {
    BOTTOM_DIFF(dy * power_slope(x, scale, shift, power));
}
extern "C" __global__ void power_in_place_backward(BACKWARD, float scale, float shift,
                                                   float power) {
    BOTTOM_DIFF(square(power_slope_in_place(y, scale, shift, power)));
}
