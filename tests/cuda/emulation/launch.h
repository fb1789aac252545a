// What Python calls: `kernel_names`, and for each `launch_NAME`, `signature_NAME`, `bound_NAME`.
#pragma once
#include <utility>

namespace emulation {

// 0xFF bytes: NaN as a float, -1 as an int.
UNSANITIZED static void poison(char *begin, char *end) {
    for (volatile char *p = begin; p < end; ++p) *p = static_cast<char>(0xFF);
}

// Behind a block's dynamic shared memory lies a zone that it must leave as it is.
#if defined(__SANITIZE_ADDRESS__)
const size_t GUARD = 0;  // the sanitizer's own lies there
#else
const size_t GUARD = 256;
#endif

UNSANITIZED static void run_block(void (*call)(void **)) {
    kernel_call = call;
    clear_barriers();
    char *memory = nullptr;
    const size_t bytes = running->shared;
    if (posix_memalign(reinterpret_cast<void **>(&memory), 128, bytes + GUARD + !(bytes + GUARD)))
        abort();
    poison(memory, memory + bytes + GUARD);
    poison(__start_cuda_shared, __stop_cuda_shared);
    dynamic_shared = memory;
    for (unsigned i = 0; i < thread_count; ++i) {
        Thread &thread = threads[i];
        thread.state = READY;
        thread.number = i;
        thread.lane = i % WARP;
        thread.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        begin_at(thread.fiber, thread_main);
    }
#if defined(__SANITIZE_THREAD__)
    __tsan_release(&block_begins);
#endif
    run_threads();
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(&block_ends);
#endif
    for (size_t i = bytes; i < bytes + GUARD; ++i)
        if (memory[i] != static_cast<char>(0xFF)) {
            fail("byte %zu of %zu bytes of dynamic shared memory was written", i, bytes);
            break;
        }
    free(memory);
}

// Run all blocks; 1 if a fault ended it, which `launch.message` describes.
UNSANITIZED static int run_grid(Launch &launch, void (*call)(void **)) {
    running = &launch;
    failed = false;
    current = nullptr;
    random_state = launch.seed * 2654435761u | 1;
    gridDim = dim3(launch.grid[0], launch.grid[1], launch.grid[2]);
    blockDim = dim3(launch.block[0], launch.block[1], launch.block[2]);
    thread_count = blockDim.x * blockDim.y * blockDim.z;
    for (unsigned i = 0; i < thread_count; ++i) {
        if (!launch.stacks[i]) launch.stacks[i] = new_stack();
        threads[i].fiber.stack = static_cast<char *>(launch.stacks[i]);
        threads[i].fiber.stack_bytes = STACK_BYTES;
#if defined(__SANITIZE_THREAD__)
        // It has a few thousand for the whole process, and takes half a millisecond to make one.
        if (!launch.tsan_fibers[i]) launch.tsan_fibers[i] = __tsan_create_fiber(0);
        threads[i].fiber.tsan = launch.tsan_fibers[i];
#endif
    }
#if defined(__SANITIZE_THREAD__)
    scheduler.tsan = __tsan_get_current_fiber();
#endif
    const size_t blocks = size_t(gridDim.x) * gridDim.y * gridDim.z;
    unsigned *order = nullptr;
    if (launch.block_order == SHUFFLED) {
        order = static_cast<unsigned *>(malloc(blocks * sizeof(unsigned)));
        put_in_order(order, static_cast<unsigned>(blocks), SHUFFLED);
    }
    Signals signals;
    signals.watch();
    for (size_t i = 0; i < blocks && !failed; ++i) {
        size_t block = order ? order[i] : launch.block_order == REVERSE ? blocks - 1 - i : i;
        blockIdx.x = static_cast<unsigned>(block % gridDim.x);
        blockIdx.y = static_cast<unsigned>(block / gridDim.x % gridDim.y);
        blockIdx.z = static_cast<unsigned>(block / gridDim.x / gridDim.y);
        run_block(call);
    }
    signals.restore();
    free(order);
    return failed;
}

template <typename T>
struct Kind {
    static const char value = std::is_pointer<T>::value          ? 'p'
                              : std::is_floating_point<T>::value ? 'f'
                              : std::is_class<T>::value          ? 's'
                              : std::is_signed<T>::value         ? 'i'
                                                                 : 'u';
};

// Of a parameter list: "p8 i4 f4" for a pointer, an int and a float.
template <typename... Parameters>
const char *signature(void (*)(Parameters...)) {
    static char text[1024];
    int length = 0;
    ((length += snprintf(text + length, sizeof text - length, length ? " %c%zu" : "%c%zu",
                         Kind<Parameters>::value, sizeof(Parameters))),
     ...);
    return text;
}

template <typename... Parameters, size_t... I>
inline void call(void (*kernel)(Parameters...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<Parameters> *>(arguments[I])...);
}
template <typename... Parameters>
inline void call(void (*kernel)(Parameters...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace emulation

#define VISIBLE extern "C" __attribute__((visibility("default")))
#define EXPORT_KERNEL(name, bound)                                                      \
    VISIBLE int launch_##name(emulation::Launch *launch) {                              \
        return emulation::run_grid(                                                     \
            *launch, [](void **arguments) { emulation::call(name, arguments); });       \
    }                                                                                   \
    VISIBLE const char *signature_##name() { return emulation::signature(name); }       \
    VISIBLE int bound_##name() { return bound; }
#define EXPORT_NAMES(names) \
    VISIBLE const char *kernel_names() { return names; }
