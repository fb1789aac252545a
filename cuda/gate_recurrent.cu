// One direction of the recurrence with gates as they are: the GateRecurrent2dnoind layer.
//
// All arrays are (N, C, H, W). Grid: N C; a block scans one map. Compiled for a length of lines, as
// spatial_propagation.cu is.
//
// Source: "Learning Affinity via Spatial Propagation Networks", Liu et al., NeurIPS 2017,
// equation 6.
#define NORMALISED 0
#include "recurrence.cuh"
#ifdef LONG_LINES
#include "recurrence_long.cuh"
#else
#include "recurrence_scan.cuh"
#endif

static_assert(G == 3, "the layer has three gates");

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    scan_maps(const float *__restrict__ x, const float *__restrict__ g1,
              const float *__restrict__ g2, const float *__restrict__ g3, float *__restrict__ h,
              int H, int W, int direction) {
    const size_t place = (size_t)blockIdx.x * H * W;
    const float *gates[G] = {g1 + place, g2 + place, g3 + place};
    with_direction(direction, [&](auto d) {
        scan_forward(Scan<decltype(d)::index>{H, W}, Rule(), x + place, gates, h + place, W);
    });
}

// lines: LINE_FLOATS max(H, W) floats for each block.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    scan_maps_backward(const float *__restrict__ x, const float *__restrict__ g1,
                       const float *__restrict__ g2, const float *__restrict__ g3,
                       const float *__restrict__ h, const float *__restrict__ h_diff,
                       float *__restrict__ x_diff, float *__restrict__ d1, float *__restrict__ d2,
                       float *__restrict__ d3, float *lines, int H, int W, int direction) {
    const size_t place = (size_t)blockIdx.x * H * W;
    const float *gates[G] = {g1 + place, g2 + place, g3 + place};
    float *gate_diffs[G] = {d1 + place, d2 + place, d3 + place};
    float *block_lines = lines + (size_t)blockIdx.x * LINE_FLOATS * (H > W ? H : W);
    const OutDiff out = {h_diff + place, nullptr, 1.f};
    with_direction(direction, [&](auto d) {
        scan_backward(Scan<decltype(d)::index>{H, W}, Rule(), x + place, gates, h + place, out,
                      x_diff + place, W, gate_diffs, false, block_lines);
    });
}
