// What the losses share: how labels are read, and how terms are added up and normalised.
//
// Terms are added in float64, first by each block and then, by loss_finish, those of all blocks;
// the order is always the same. Nothing is read by the host: what backward needs, and whether a
// label was wrong, stays on the device in a Summary.
#pragma once
#include "classes.cuh"

const int NO_POSITION = 0x7fffffff;

// What some of the positions add up to.
struct Tally {
    double total = 0;
    int counted = 0;
    int wrong = NO_POSITION;  // the first position whose label is no class

    __device__ __forceinline__ void add(float term) {
        total += term;
        ++counted;
    }
    __device__ __forceinline__ void refuse(int position) { wrong = min(wrong, position); }
    __device__ __forceinline__ void merge(const Tally &other) {
        total += other.total;
        counted += other.counted;
        wrong = min(wrong, other.wrong);
    }
    // Of all threads of the block, in every thread.
    __device__ __forceinline__ Tally of_block() const {
        Tally all;
        all.total = block_sum(total);
        all.counted = block_sum(counted);
        all.wrong = -block_max(-wrong);
        return all;
    }
};

// What a forward pass leaves for the backward pass and for the host: two of them are equal in bits
// if the passes were.
struct Summary {
    double divisor, counted;
    // The first position whose label is no class, counted from 1, or 0; and the label there.
    double wrong, label;
};

// body(position, tally) for every position; partials[block] = the block's tally.
template <typename Body>
__device__ __forceinline__ void tally_positions(int count, Tally *partials, Body body) {
    Tally tally;
    for_each(i, count) body(i, tally);
    tally = tally.of_block();
    if (threadIdx.x == 0) partials[blockIdx.x] = tally;
}

// NaN stays, other than with fmaxf.
__device__ __forceinline__ float at_least(float least, float x) { return x < least ? least : x; }

// What each term's derivative is multiplied by.
__device__ __forceinline__ float loss_weight(const float *top_diff, const Summary *summary) {
    return *top_diff / summary->divisor;
}
