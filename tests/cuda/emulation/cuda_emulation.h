// Runs unchanged CUDA C on the CPU, one block after another, one fiber per thread of the block.
//
// For tests only. build.py includes this before a .cu and compiles both with g++; what is not
// emulated (textures, cooperative groups, half precision, inline PTX) does not compile.
//
//     language.h        qualifiers, vector types, threadIdx and its kin
//     fiber.h           stacks, and the switch between them
//     block.h           the threads of a block, who runs next, and how a fault ends a launch
//     barriers.h        __syncthreads, __syncwarp, shuffles, votes
//     functions.h       arithmetic, conversions, atomics, loads and stores
//     checks.h          misaligned, null and out-of-bounds accesses as faults instead of crashes
//     launch.h          what Python calls
//
// Threads are switched at barriers only. A missing barrier therefore shows as a result that depends
// on the order of the threads, which can be chosen, or as a report of the thread sanitizer.
#pragma once
#define CUDA_EMULATION 1

#include "language.h"
#include "fiber.h"
#include "block.h"
#include "barriers.h"
#include "functions.h"
#include "checks.h"
#include "launch.h"
