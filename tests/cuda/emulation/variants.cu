// Kernels that depend on options of the compiler, for the tests of the emulation.
#include "common.cuh"

#ifdef FLOAT_ATOMICS
extern "C" __global__ void adds_floats(float *y) { atomicAdd(y, 1.0f); }
#endif

#ifdef VARIANT
extern "C" __global__ void variant(float *y) { y[0] = VARIANT * VARIANT; }
#endif
