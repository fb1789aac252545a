// Memory of the device, which is the host's, and copies.
#pragma once
#include "graphs.h"
#include "state.h"

API cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    NEEDS(current());
    *total = number("FAKE_CUDA_MEMORY", 64 << 20);
    *free_bytes = *total - state.used;
    return SUCCESS;
}
API cuMemAlloc_v2(uintptr_t *address, size_t bytes) {
    NEEDS(current());
    if (!bytes) return INVALID_VALUE;
    if (state.used + bytes > number("FAKE_CUDA_MEMORY", 64 << 20)) return OUT_OF_MEMORY;
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(memory, 0x7f, bytes);  // what was not written shows
    state.used += bytes;
    *address = reinterpret_cast<uintptr_t>(memory);
    state.memory[*address] = bytes;
    return SUCCESS;
}
API cuMemFree_v2(uintptr_t address) {
    NEEDS(current());
    auto found = state.memory.find(address);
    if (found == state.memory.end()) return INVALID_VALUE;
    state.used -= found->second;
    state.memory.erase(found);
    free(reinterpret_cast<void *>(address));
    return SUCCESS;
}
API cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
    NEEDS(current());
    *memory = malloc(bytes ? bytes : 1);
    state.host.insert(*memory);
    return SUCCESS;
}
API cuMemFreeHost(void *memory) {
    NEEDS(current());
    if (!state.host.erase(memory)) return INVALID_VALUE;
    free(memory);
    return SUCCESS;
}
API cuMemcpyHtoD_v2(uintptr_t target, const void *source, size_t bytes) {
    NEEDS(current());
    if (int error = on_device(target, bytes)) return error;
    memcpy(reinterpret_cast<void *>(target), source, bytes);
    return SUCCESS;
}
API cuMemcpyDtoH_v2(void *target, uintptr_t source, size_t bytes) {
    NEEDS(current());
    if (int error = on_device(source, bytes)) return error;
    memcpy(target, reinterpret_cast<void *>(source), bytes);
    return SUCCESS;
}
API cuMemcpyHtoDAsync_v2(uintptr_t target, const void *source, size_t bytes, Stream *stream) {
    LOCK;
    return enqueue(stream, [=] { return cuMemcpyHtoD_v2(target, source, bytes); });
}
API cuMemcpyDtoHAsync_v2(void *target, uintptr_t source, size_t bytes, Stream *stream) {
    LOCK;
    return enqueue(stream, [=] { return cuMemcpyDtoH_v2(target, source, bytes); });
}
API cuMemcpyDtoDAsync_v2(uintptr_t target, uintptr_t source, size_t bytes, Stream *stream) {
    NEEDS(current());
    return enqueue(stream, [=]() -> int {
        if (int error = on_device(target, bytes)) return error;
        if (int error = on_device(source, bytes)) return error;
        memmove(reinterpret_cast<void *>(target), reinterpret_cast<void *>(source), bytes);
        return SUCCESS;
    });
}
API cuMemsetD8Async(uintptr_t target, unsigned char byte, size_t bytes, Stream *stream) {
    NEEDS(current());
    if (!bytes) return INVALID_VALUE;
    return enqueue(stream, [=]() -> int {
        if (int error = on_device(target, bytes)) return error;
        memset(reinterpret_cast<void *>(target), byte, bytes);
        return SUCCESS;
    });
}
