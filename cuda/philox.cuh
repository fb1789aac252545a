// Philox 4x32-10: random numbers from a counter and a key, in any order and by any thread.
//
// Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
#pragma once
#include "common.cuh"

struct Philox {
    uint32 word[4];

    // Four words of 32 random bits; a change of any bit of the counter or key changes them all.
    __device__ __forceinline__ Philox(uint64 low, uint64 high, uint64 key)
        : word{half(low, 0), half(low, 1), half(high, 0), half(high, 1)} {
        uint32 k0 = half(key, 0), k1 = half(key, 1);
#pragma unroll
        for (int round = 0; round < 10; ++round) {
            const uint64 a = static_cast<uint64>(0xD2511F53u) * word[0];
            const uint64 b = static_cast<uint64>(0xCD9E8D57u) * word[2];
            word[0] = half(b, 1) ^ word[1] ^ k0;
            word[1] = half(b, 0);
            word[2] = half(a, 1) ^ word[3] ^ k1;
            word[3] = half(a, 0);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
    }

    __device__ __forceinline__ static uint32 half(uint64 value, int index) {
        return static_cast<uint32>(value >> (32 * index));
    }
};

// A layer's random numbers: its seed, and how many forward passes there were. They lie on the
// device so that a pass can be repeated as it was enqueued, and still draws anew.
struct Draws {
    uint64 seed, passes;
};
