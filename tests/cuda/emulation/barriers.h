// __syncthreads, __syncwarp, shuffles and votes.
//
// What CUDA leaves undefined is a fault here: lanes of one warp at different barriers, masks that
// differ or name lanes which have returned. So is what only newer hardware allows: a thread that
// returns while others still come to a __syncthreads().
#pragma once

namespace emulation {

// Threads that wait for each other. One of a block, and one of each set of lanes that meets.
struct Barrier {
    unsigned mask;  // of lanes; all for a block's
    unsigned arrived;
    Place place;  // of the first to arrive
    void *event;  // what the thread sanitizer knows this meeting by
};

static Barrier block_barrier;
static int block_votes;   // of the meeting that is under way
static int block_result;  // of the last one
static Barrier warp_barriers[MOST_THREADS / WARP][WARP];

// A meeting has an address of its own. Were it always the barrier's, a thread that leaves late
// would seem to follow what faster threads did since, up to the next barrier, and races would be
// missed.
static uint64_t events[4096];
static unsigned next_event;

UNSANITIZED static void clear_barriers() {
    block_barrier.arrived = 0;
    block_votes = 0;
    for (unsigned w = 0; w * WARP < thread_count; ++w)
        for (unsigned i = 0; i < WARP; ++i) warp_barriers[w][i].arrived = 0;
}

UNSANITIZED static bool same(const char *a, const char *b) {
    if (a == b) return true;  // nearly always
    while (*a && *a == *b) ++a, ++b;
    return *a == *b;
}

// Arrive; the last one runs `finish` and wakes the others (those of `from` to `to` that wait here).
template <typename Finish>
UNSANITIZED static void meet(Barrier &barrier, unsigned expected, unsigned from, unsigned to,
                             Place place, Finish finish) {
    current->place = place;
    if (barrier.arrived == 0) {
        barrier.place = place;
        barrier.event = &events[next_event++ % 4096];
    }
    if (!same(barrier.place.what, place.what))
        fail("threads meet at different barriers: %s (%s:%d) and %s (%s:%d)", barrier.place.what,
             file_name(barrier.place.file), barrier.place.line, place.what, file_name(place.file),
             place.line);
    void *event = barrier.event;
#if defined(__SANITIZE_THREAD__)
    __tsan_release(event);
#endif
    if (++barrier.arrived < expected) {
        current->state = WAITING;
        current->at = &barrier;
        give_way();
    } else {
        barrier.arrived = 0;
        finish();
        for (unsigned i = from; i < to; ++i)
            if (threads[i].state == WAITING && threads[i].at == &barrier) threads[i].state = READY;
    }
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(event);
#endif
    (void)event;
}

// Within a warp, all must have come to the same line: the instruction is a warp's, not a thread's.
UNSANITIZED static void check_warps_agree() {
    for (unsigned i = 0; i < thread_count; ++i) {
        const Place &mine = threads[i].place, &first = threads[i / WARP * WARP].place;
        if (mine.line != first.line || !same(mine.file, first.file))
            fail("divergent barrier: lanes of one warp meet at %s in %s:%d and in %s:%d", mine.what,
                 file_name(first.file), first.line, file_name(mine.file), mine.line);
    }
}

UNSANITIZED static int sync_block(int vote, Place place) {
    block_votes += vote != 0;
    meet(block_barrier, thread_count, 0, thread_count, place, []() UNSANITIZED {
        check_warps_agree();
        block_result = block_votes;
        block_votes = 0;
    });
    return block_result;
}

// All lanes of the mask meet; the last to arrive runs `finish(first thread of the warp)`.
template <typename Finish>
UNSANITIZED static void sync_warp(unsigned mask, Place place, Finish finish) {
    unsigned first = current->number - current->lane, lanes = 0;
    const char *file = file_name(place.file);
    if (!(mask >> current->lane & 1))
        fail("%s (%s:%d): lane %u is not in its own mask %08x", place.what, file, place.line,
             current->lane, mask);
    for (unsigned i = 0; i < WARP; ++i) {
        if (!(mask >> i & 1)) continue;
        if (first + i >= thread_count)
            fail("%s (%s:%d): mask %08x names lane %u, which the block does not have", place.what,
                 file, place.line, mask, i);
        if (threads[first + i].state == RETURNED)
            fail("%s (%s:%d): mask %08x names lane %u, which has returned", place.what, file,
                 place.line, mask, i);
        ++lanes;
    }
    Barrier *barrier = nullptr;
    for (Barrier &other : warp_barriers[first / WARP]) {
        if (other.arrived == 0) {
            if (!barrier) barrier = &other;
        } else if (other.mask == mask) {
            barrier = &other;
            break;
        } else if (other.mask & mask) {
            fail("%s (%s:%d): mask %08x, while other lanes of it wait with mask %08x at %s (%s:%d)",
                 place.what, file, place.line, mask, other.mask, other.place.what,
                 file_name(other.place.file), other.place.line);
        }
    }
    barrier->mask = mask;
    meet(*barrier, lanes, first, first + WARP, place,
         [=]() UNSANITIZED { finish(&threads[first]); });
}

// Every lane gives a value and gets that of `source`, all at once.
template <typename T>
UNSANITIZED static T shuffle(unsigned mask, T value, int source, Place place) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    current->given = 0;
    __builtin_memcpy(&current->given, &value, sizeof(T));
    current->source_lane = source;
    sync_warp(mask, place, [mask](Thread *warp) UNSANITIZED {
        for (unsigned i = 0; i < WARP; ++i)
            if (mask >> i & 1) warp[i].received = warp[warp[i].source_lane].given;
    });
    if (!(mask >> source & 1))
        fail("%s (%s:%d): lane %u reads lane %d, which is not in mask %08x", place.what,
             file_name(place.file), place.line, current->lane, source, mask);
    __builtin_memcpy(&value, &current->received, sizeof(T));
    return value;
}

UNSANITIZED static unsigned ballot(unsigned mask, int vote, Place place) {
    current->given = vote != 0;
    sync_warp(mask, place, [mask](Thread *warp) UNSANITIZED {
        unsigned votes = 0;
        for (unsigned i = 0; i < WARP; ++i)
            if (mask >> i & 1) votes |= static_cast<unsigned>(warp[i].given) << i;
        for (unsigned i = 0; i < WARP; ++i)
            if (mask >> i & 1) warp[i].received = votes;
    });
    return static_cast<unsigned>(current->received);
}

UNSANITIZED static int lane() { return static_cast<int>(current->lane); }

}  // namespace emulation

// Default arguments stand for the line of the call.
#define CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define PLACE(what) emulation::Place{what, file, line}

inline void __syncthreads(CALLER) { emulation::sync_block(0, PLACE("__syncthreads")); }
inline int __syncthreads_or(int vote, CALLER) {
    return emulation::sync_block(vote, PLACE("__syncthreads_or")) > 0;
}
inline int __syncthreads_and(int vote, CALLER) {
    return emulation::sync_block(!vote, PLACE("__syncthreads_and")) == 0;
}
inline int __syncthreads_count(int vote, CALLER) {
    return emulation::sync_block(vote, PLACE("__syncthreads_count"));
}

inline void __syncwarp(unsigned mask = ~0u, CALLER) {
    emulation::sync_warp(mask, PLACE("__syncwarp"), [](emulation::Thread *) {});
}

// A source lane outside the lane's segment of `width` lanes means the lane itself.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CALLER) {
    int first = emulation::lane() & ~(width - 1);
    return emulation::shuffle(mask, value, first | (source & (width - 1)), PLACE("__shfl_sync"));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CALLER) {
    int lane = emulation::lane(), source = lane - static_cast<int>(delta);
    if (source < (lane & ~(width - 1))) source = lane;
    return emulation::shuffle(mask, value, source, PLACE("__shfl_up_sync"));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CALLER) {
    int lane = emulation::lane(), source = lane + static_cast<int>(delta);
    if (source > (lane | (width - 1))) source = lane;
    return emulation::shuffle(mask, value, source, PLACE("__shfl_down_sync"));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int flips, int width = 32, CALLER) {
    int lane = emulation::lane(), source = lane ^ flips;
    if (source > (lane | (width - 1))) source = lane;
    return emulation::shuffle(mask, value, source, PLACE("__shfl_xor_sync"));
}

inline unsigned __ballot_sync(unsigned mask, int vote, CALLER) {
    return emulation::ballot(mask, vote, PLACE("__ballot_sync"));
}
inline int __any_sync(unsigned mask, int vote, CALLER) {
    return emulation::ballot(mask, vote, PLACE("__any_sync")) != 0;
}
inline int __all_sync(unsigned mask, int vote, CALLER) {
    return emulation::ballot(mask, vote, PLACE("__all_sync")) == mask;
}

// Blocks run one after another, and threads in turn: every write is seen at once.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

#undef CALLER
#undef PLACE
