// What the fake driver knows: contexts, and all that was made and not given back.
#pragma once
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    DEINITIALIZED = 4,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_OUT_OF_RESOURCES = 701,
    STREAM_CAPTURE_UNSUPPORTED = 900,
};

struct Context {
    int device;
};
using Actions = std::vector<std::function<int()>>;
struct Stream {
    Context *context;
    bool non_blocking;
    std::unique_ptr<Actions> captured;  // while it captures
};
struct Event {
    Context *context;
    bool timing;
    double at;
};
struct Function;
struct Module {
    Context *context;
    void *library;
    std::map<std::string, Function *> functions;
};
// As in tests/cuda/emulation/block.h.
struct Launch {
    unsigned grid[3], block[3];
    size_t shared;
    int thread_order, block_order;
    unsigned seed;
    void **arguments;
    void **stacks, **tsan_fibers;
    char message[1024];
};
const unsigned MOST_THREADS = 1024;
void *stacks[MOST_THREADS], *tsan_fibers[MOST_THREADS];
struct Function {
    Module *module;
    std::string name;
    std::vector<size_t> sizes;
    int bound;
    size_t dynamic_shared;
    int (*launch)(Launch *);
};

size_t number(const char *name, size_t otherwise) {
    const char *text = getenv(name);
    return text ? strtoull(text, nullptr, 10) : otherwise;
}

const size_t USUAL_SHARED = 48 << 10, MOST_SHARED = 227 << 10;

// Never destroyed: Python frees what it has until the very end.
struct State {
    std::recursive_mutex mutex;
    pid_t process = 0;
    int sticky = SUCCESS;
    std::map<int, Context *> primary;
    std::map<int, int> retained;
    std::map<uintptr_t, size_t> memory;
    std::set<void *> host, streams, events, modules, graphs;
    size_t used = 0;
} &state = *new State;

thread_local std::vector<Context *> stack;

int ready() {
    if (!state.process) return NOT_INITIALIZED;
    return state.process == getpid() ? SUCCESS : NOT_INITIALIZED;
}
int current() {
    if (int error = ready()) return error;
    if (stack.empty() || !stack.back()) return INVALID_CONTEXT;
    if (!state.retained[stack.back()->device]) return INVALID_CONTEXT;
    return state.sticky;
}
int devices() { return static_cast<int>(number("FAKE_CUDA_DEVICES", 2)); }
int is_device(int device) { return device >= 0 && device < devices(); }

// The array that an address lies in must have all the bytes.
int on_device(uintptr_t address, size_t bytes) {
    auto next = state.memory.upper_bound(address);
    if (next == state.memory.begin()) return INVALID_VALUE;
    --next;
    return address + bytes <= next->first + next->second ? SUCCESS : INVALID_VALUE;
}
double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec * 1e-6;
}

struct Report {
    ~Report() {
        const char *path = getenv("FAKE_CUDA_REPORT");
        if (!path || state.process != getpid()) return;
        int contexts = 0;
        for (auto &entry : state.retained) contexts += entry.second;
        FILE *file = fopen(path, "w");
        fprintf(file, "contexts %d arrays %zu pinned %zu streams %zu events %zu modules %zu"
                " graphs %zu\n",
                contexts, state.memory.size(), state.host.size(), state.streams.size(),
                state.events.size(), state.modules.size(), state.graphs.size());
        fclose(file);
    }
} report;

}  // namespace

#define LOCK std::lock_guard<std::recursive_mutex> lock(state.mutex)
#define NEEDS(check)                  \
    LOCK;                             \
    if (int error = (check)) return error

