// Arrays taken four elements at a time: one transaction of 16 bytes costs a thread less than four.
#pragma once
#include "common.cuh"

// WIDTH neighbouring elements, in registers or, aligned to their size, in memory.
template <typename T, int WIDTH>
struct alignas(sizeof(T) * WIDTH) Vector {
    T at[WIDTH];
};

// How many elements a loop's body takes; an argument, so that the body can be a lambda.
template <int WIDTH>
struct Width {
    static constexpr int value = WIDTH;
};

template <int WIDTH, typename T>
__device__ __forceinline__ Vector<T, WIDTH> load(const T *from) {
    return *reinterpret_cast<const Vector<T, WIDTH> *>(from);
}

template <int WIDTH, typename T>
__device__ __forceinline__ void store(T *to, const Vector<T, WIDTH> &values) {
    *reinterpret_cast<Vector<T, WIDTH> *>(to) = values;
}

// Whether vectors of four may be read and written at all of the addresses; null is at any.
template <typename... T>
__device__ __forceinline__ bool aligned(const T *...array) {
    return ((reinterpret_cast<uint64>(array) % sizeof(Vector<T, 4>) == 0) && ...);
}

// body(width, i) for neighbouring elements i to i + width - 1, until all `count` had their turn.
// The threads of the grid share the work.
template <typename Body>
__device__ __forceinline__ void for_vectors(int count, bool aligned, Body body) {
    const int vectors = aligned ? count / 4 : 0;
    for_each(i, vectors) body(Width<4>(), 4 * i);
    for_each(i, count - 4 * vectors) body(Width<1>(), 4 * vectors + i);
}

// The same, shared by the threads of a one-dimensional block.
template <typename Body>
__device__ __forceinline__ void for_vectors_in_block(int count, bool aligned, Body body) {
    const int vectors = aligned ? count / 4 : 0;
    for (int i = threadIdx.x; i < vectors; i += blockDim.x) body(Width<4>(), 4 * i);
    for (int i = 4 * vectors + threadIdx.x; i < count; i += blockDim.x) body(Width<1>(), i);
}

template <int WIDTH, typename Function, typename... Inputs>
__device__ __forceinline__ Vector<float, WIDTH> mapped(Function function, const Inputs &...input) {
    Vector<float, WIDTH> result;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) result.at[k] = function(input.at[k]...);
    return result;
}

// output[i] = function(input[i]...); the output may be one of the inputs.
template <typename Function, typename... T>
__device__ __forceinline__ void map(float *output, int count, Function function,
                                    const T *...input) {
    for_vectors(count, aligned(output, input...), [=](auto width, int i) {
        constexpr int WIDTH = decltype(width)::value;
        store(output + i, mapped<WIDTH>(function, load<WIDTH>(input + i)...));
    });
}
