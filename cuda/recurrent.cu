// The steps of recurrent layers, without their matrix products. Arrays of a step: (streams, size),
// gate inputs (streams, 4 size) in the order i, f, o, g.
//
// Source: `LSTMUnitLayer` of BVLC Caffe.
#include "common.cuh"

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// y = marker x; y may be x.
extern "C" __global__ void mask_streams(const float *x, const float *marker, float *y, int count,
                                        int size) {
    for_each(i, count) y[i] = x[i] * marker[i / size];
}

// gates become i, f, o, g;  c_in = marker c_prev;  c = f c_in + i g;  h = o tanh(c); and for the
// step behind this one, if there is one, h_in = next_marker h.
extern "C" __global__ void lstm_forward(float *gates, const float *marker, const float *c_prev,
                                        float *c_in, float *c, float *tanh_c, float *h,
                                        const float *next_marker, float *h_in, int count,
                                        int size) {
    for_each(at, count) {
        const int stream = at / size;
        float *gate = gates + static_cast<int64>(stream) * 4 * size + at % size;
        const float i = sigmoid(gate[0]), f = sigmoid(gate[size]), o = sigmoid(gate[2 * size]);
        const float g = tanhf(gate[3 * size]);
        const float before = c_prev[at] * marker[stream];
        const float cell = f * before + i * g, squashed = tanhf(cell);
        gate[0] = i, gate[size] = f, gate[2 * size] = o, gate[3 * size] = g;
        c_in[at] = before;
        c[at] = cell;
        tanh_c[at] = squashed;
        h[at] = o * squashed;
        if (h_in) h_in[at] = h[at] * next_marker[stream];
    }
}

// What gets to h from the layer's output and, where there is a step behind, through its h_in.
__device__ __forceinline__ float diff_of_h(const float *top_diff, const float *next_marker,
                                           const float *h_diff, int at, int stream) {
    if (!h_diff) return top_diff[at];
    return top_diff[at] + h_diff[at] * (next_marker ? next_marker[stream] : 1);
}

// From the diffs of h and of c to those of the gate inputs and, in place, of c_prev.
extern "C" __global__ void lstm_backward(const float *gates, const float *marker,
                                         const float *c_in, const float *tanh_c,
                                         const float *top_diff, const float *next_marker,
                                         const float *h_diff, float *c_diff, float *gate_diff,
                                         int count, int size) {
    for_each(at, count) {
        const int stream = at / size;
        const int64 first = static_cast<int64>(stream) * 4 * size + at % size;
        const float *gate = gates + first;
        const float i = gate[0], f = gate[size], o = gate[2 * size], g = gate[3 * size];
        const float above = diff_of_h(top_diff, next_marker, h_diff, at, stream);
        const float squashed = tanh_c[at];
        const float cell = c_diff[at] + (1 - squashed * squashed) * o * above;
        float *diff = gate_diff + first;
        diff[0] = (1 - i) * i * g * cell;
        diff[size] = (1 - f) * f * c_in[at] * cell;
        diff[2 * size] = (1 - o) * o * squashed * above;
        diff[3 * size] = (1 - g * g) * i * cell;
        c_diff[at] = cell * f * marker[stream];
    }
}

// h = tanh(sum), and for the step behind, if there is one, h_in = next_marker h.
extern "C" __global__ void rnn_forward(const float *sum, float *h, const float *next_marker,
                                       float *h_in, int count, int size) {
    for_each(at, count) {
        h[at] = tanhf(sum[at]);
        if (h_in) h_in[at] = h[at] * next_marker[at / size];
    }
}

extern "C" __global__ void rnn_backward(const float *h, const float *top_diff,
                                        const float *next_marker, const float *h_diff,
                                        float *sum_diff, int count, int size) {
    for_each(at, count) {
        const float above = diff_of_h(top_diff, next_marker, h_diff, at, at / size);
        sum_diff[at] = (1 - h[at] * h[at]) * above;
    }
}
