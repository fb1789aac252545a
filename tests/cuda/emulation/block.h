// The threads of the block that runs, who runs next, and how a fault ends the launch.
#pragma once
#include <stdarg.h>

namespace emulation {

const unsigned WARP = 32;
const unsigned MOST_THREADS = 1024;

// Where in the source a thread met a barrier.
struct Place {
    const char *what, *file;
    int line;
};

struct Barrier;
enum State { READY, WAITING, RETURNED };

struct Thread {
    Fiber fiber;
    uint3 index;
    unsigned number, lane;
    State state;
    Barrier *at;           // while it waits
    Place place;           // of the last barrier
    uint64_t given;        // to a shuffle or vote
    uint64_t received;     // from it
    unsigned source_lane;  // of the shuffle
};

enum Order { FORWARD, REVERSE, SHUFFLED };

// What Python passes to a launch; the same structure stands in build.py.
struct Launch {
    unsigned grid[3], block[3];
    size_t shared;
    int thread_order, block_order;
    unsigned seed;
    void **arguments;
    void **stacks, **tsan_fibers;  // MOST_THREADS each; all modules share them
    char message[1024];
};

static Thread threads[MOST_THREADS];
static unsigned thread_count;
static Thread *current;  // null while the scheduler runs
static Launch *running;
static bool failed;

UNSANITIZED static const char *file_name(const char *path) {
    const char *name = path;
    for (; *path; ++path)
        if (*path == '/') name = path + 1;
    return name;
}

// End the launch with a message. On a kernel's thread this does not return.
__attribute__((format(printf, 1, 2))) UNSANITIZED static void fail(const char *format, ...) {
    if (!failed) {
        failed = true;
        va_list values;
        va_start(values, format);
        char *message = running->message;
        int length = vsnprintf(message, sizeof running->message, format, values);
        va_end(values);
        if (length >= 0 && length < static_cast<int>(sizeof running->message)) {
            const char *form = current ? "; block (%u, %u, %u), thread (%u, %u, %u)"
                                       : "; block (%u, %u, %u)";
            uint3 index = current ? current->index : uint3{0, 0, 0};
            snprintf(message + length, sizeof running->message - length, form, blockIdx.x,
                     blockIdx.y, blockIdx.z, index.x, index.y, index.z);
        }
    }
    if (current) switch_fiber(current->fiber, scheduler);
}

// Give way until another thread makes this one ready again.
UNSANITIZED static void give_way() { switch_fiber(current->fiber, scheduler); }

// xorshift32: the same orders on every machine, and <random> would double the compilation's time.
static unsigned random_state;
UNSANITIZED static unsigned random_below(unsigned bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % bound;
}

UNSANITIZED static void put_in_order(unsigned *numbers, unsigned count, int order) {
    for (unsigned i = 0; i < count; ++i) numbers[i] = order == REVERSE ? count - 1 - i : i;
    if (order == SHUFFLED)
        for (unsigned i = count - 1; i > 0; --i) {
            unsigned j = random_below(i + 1), kept = numbers[i];
            numbers[i] = numbers[j];
            numbers[j] = kept;
        }
}

// The sanitizer sees that all before a block happens before all threads of it, and these before all
// that follows. Races between blocks it does not see: they would be mixed up with the reuse of
// shared memory.
#if defined(__SANITIZE_THREAD__)
static char block_begins, block_ends;
#endif

static void (*kernel_call)(void **);

UNSANITIZED static void thread_main() {
    entered_fiber();
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(&block_begins);
#endif
    kernel_call(running->arguments);
#if defined(__SANITIZE_THREAD__)
    __tsan_release(&block_ends);
#endif
    current->state = RETURNED;
    switch_fiber(current->fiber, scheduler, true);
    abort();
}

UNSANITIZED static void report_deadlock() {
    unsigned waiting = 0, returned = 0;
    const Thread *first = nullptr;
    for (unsigned i = 0; i < thread_count; ++i) {
        returned += threads[i].state == RETURNED;
        waiting += threads[i].state == WAITING;
        if (threads[i].state == WAITING && !first) first = &threads[i];
    }
    fail("deadlock: %u threads wait and %u have returned; the first, thread (%u, %u, %u), waits at"
         " %s (%s:%d)",
         waiting, returned, first->index.x, first->index.y, first->index.z, first->place.what,
         file_name(first->place.file), first->place.line);
}

// Run all threads of a block, each until it waits, until all have returned.
UNSANITIZED static void run_threads() {
    static unsigned order[MOST_THREADS];
    put_in_order(order, thread_count, running->thread_order);
    unsigned returned = 0;
    while (returned < thread_count) {
        if (running->thread_order == SHUFFLED) put_in_order(order, thread_count, SHUFFLED);
        bool progress = false;
        for (unsigned i = 0; i < thread_count; ++i) {
            Thread &thread = threads[order[i]];
            if (thread.state != READY) continue;
            progress = true;
            current = &thread;
            threadIdx = thread.index;
            switch_fiber(scheduler, thread.fiber);
            current = nullptr;
            if (failed) return;
            returned += thread.state == RETURNED;
        }
        if (!progress) return report_deadlock();
    }
}

}  // namespace emulation
