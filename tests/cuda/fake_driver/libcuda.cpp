// A stand-in for NVIDIA's libcuda.so.1: devices whose memory is the host's, for tests of the code
// that uses PyCUDA. A module's image is the path of a library that the kernels' emulator made.
//
// What it is told, by the environment:
//   FAKE_CUDA_INIT       what cuInit returns (0)
//   FAKE_CUDA_DEVICES    how many devices (2)
//   FAKE_CUDA_CAPABILITY 10 * major + minor of all of them (90)
//   FAKE_CUDA_MEMORY     bytes of each (64 MiB)
//   FAKE_CUDA_REPORT     a file that gets, when the process ends, a line with what was not given back
//
// Like the real one it demands a current context, refuses a process made by fork, and repeats the
// error of a kernel that failed for ever.
#include "graphs.h"
#include "state.h"

// Start, and devices

API cuInit(unsigned) {
    LOCK;
    if (int error = static_cast<int>(number("FAKE_CUDA_INIT", 0))) return error;
    if (state.process && state.process != getpid()) return NOT_INITIALIZED;
    if (!devices()) return NO_DEVICE;
    state.process = getpid();
    return SUCCESS;
}
API cuDriverGetVersion(int *version) {
    *version = 13000;
    return SUCCESS;
}
API cuGetErrorString(int error, const char **text) {
    static const std::map<int, const char *> texts = {
        {SUCCESS, "no error"},
        {INVALID_VALUE, "invalid argument"},
        {OUT_OF_MEMORY, "out of memory"},
        {NOT_INITIALIZED, "initialization error"},
        {NO_DEVICE, "no CUDA-capable device is detected"},
        {INVALID_DEVICE, "invalid device ordinal"},
        {INVALID_IMAGE, "device kernel image is invalid"},
        {INVALID_CONTEXT, "invalid device context"},
        {INVALID_HANDLE, "invalid resource handle"},
        {NOT_FOUND, "named symbol not found"},
        {ILLEGAL_ADDRESS, "an illegal memory access was encountered"},
        {LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"},
    };
    auto found = texts.find(error);
    *text = found == texts.end() ? "unknown error" : found->second;
    return SUCCESS;
}
API cuDeviceGetCount(int *count) {
    NEEDS(ready());
    *count = devices();
    return SUCCESS;
}
API cuDeviceGet(int *device, int ordinal) {
    NEEDS(ready());
    *device = ordinal;
    return is_device(ordinal) ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "Fake GPU %d", device);
    return SUCCESS;
}
API cuDeviceComputeCapability(int *major, int *minor, int) {
    int capability = static_cast<int>(number("FAKE_CUDA_CAPABILITY", 90));
    *major = capability / 10;
    *minor = capability % 10;
    return SUCCESS;
}
API cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = number("FAKE_CUDA_MEMORY", 64 << 20);
    return SUCCESS;
}
API cuDeviceGetAttribute(int *value, int attribute, int) {
    const int MULTIPROCESSOR_COUNT = 16, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97;
    *value = attribute == MULTIPROCESSOR_COUNT ? 132
             : attribute == MAX_SHARED_MEMORY_PER_BLOCK_OPTIN ? static_cast<int>(MOST_SHARED) : 0;
    return SUCCESS;
}

// Contexts

API cuDevicePrimaryCtxRetain(Context **context, int device) {
    NEEDS(ready());
    if (!is_device(device)) return INVALID_DEVICE;
    if (!state.primary[device]) state.primary[device] = new Context{device};
    ++state.retained[device];
    *context = state.primary[device];
    return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
    NEEDS(ready());
    if (!state.retained[device]) return INVALID_CONTEXT;
    --state.retained[device];
    return SUCCESS;
}
API cuCtxSetCurrent(Context *context) {
    NEEDS(ready());
    if (!stack.empty()) stack.pop_back();
    if (context) stack.push_back(context);
    return SUCCESS;
}
API cuCtxPushCurrent_v2(Context *context) {
    NEEDS(ready());
    if (!state.retained[context->device]) return INVALID_CONTEXT;
    stack.push_back(context);
    return SUCCESS;
}
API cuCtxPopCurrent_v2(Context **context) {
    NEEDS(ready());
    if (stack.empty()) return INVALID_CONTEXT;
    *context = stack.back();
    stack.pop_back();
    return SUCCESS;
}
API cuCtxGetDevice(int *device) {
    NEEDS(current());
    *device = stack.back()->device;
    return SUCCESS;
}
API cuCtxSynchronize() {
    NEEDS(current());
    return SUCCESS;
}

// Memory

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

// Streams and events: everything has happened when the call returns.

API cuStreamCreate(Stream **stream, unsigned flags) {
    NEEDS(current());
    const unsigned NON_BLOCKING = 1;
    *stream = new Stream{stack.back(), (flags & NON_BLOCKING) != 0, nullptr};
    state.streams.insert(*stream);
    return SUCCESS;
}
API cuStreamDestroy_v2(Stream *stream) {
    NEEDS(current());
    if (!state.streams.erase(stream)) return INVALID_HANDLE;
    delete stream;
    return SUCCESS;
}
API cuStreamSynchronize(Stream *stream) {
    NEEDS(current());
    return stream && stream->captured ? STREAM_CAPTURE_UNSUPPORTED : SUCCESS;
}
API cuStreamQuery(Stream *) {
    NEEDS(current());
    return SUCCESS;
}
API cuStreamWaitEvent(Stream *stream, Event *event, unsigned) {
    NEEDS(current());
    return state.streams.count(stream) && state.events.count(event) ? SUCCESS : INVALID_HANDLE;
}
API cuEventCreate(Event **event, unsigned flags) {
    NEEDS(current());
    const unsigned DISABLE_TIMING = 2;
    *event = new Event{stack.back(), !(flags & DISABLE_TIMING), 0};
    state.events.insert(*event);
    return SUCCESS;
}
API cuEventDestroy_v2(Event *event) {
    NEEDS(current());
    if (!state.events.erase(event)) return INVALID_HANDLE;
    delete event;
    return SUCCESS;
}
API cuEventRecord(Event *event, Stream *) {
    NEEDS(current());
    event->at = now();
    return SUCCESS;
}
API cuEventSynchronize(Event *) {
    NEEDS(current());
    return SUCCESS;
}
API cuEventQuery(Event *) {
    NEEDS(current());
    return SUCCESS;
}
API cuEventElapsedTime_v2(float *milliseconds, Event *start, Event *end) {
    NEEDS(current());
    if (!start->timing || !end->timing) return INVALID_HANDLE;
    *milliseconds = static_cast<float>(end->at - start->at);
    return SUCCESS;
}

// Modules and kernels

API cuModuleLoadDataEx(Module **module, const void *image, unsigned count, int *options,
                       void **values) {
    NEEDS(current());
    // The compiler's messages are empty.
    const int INFO_LOG_SIZE = 4, ERROR_LOG_SIZE = 6;
    for (unsigned i = 0; i < count; ++i)
        if (options[i] == INFO_LOG_SIZE || options[i] == ERROR_LOG_SIZE) values[i] = nullptr;
    void *library = dlopen(static_cast<const char *>(image), RTLD_NOW | RTLD_LOCAL);
    if (!library) return INVALID_IMAGE;
    *module = new Module{stack.back(), library, {}};
    state.modules.insert(*module);
    return SUCCESS;
}
API cuModuleLoadData(Module **module, const void *image) {
    return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}
API cuModuleUnload(Module *module) {
    NEEDS(current());
    if (!state.modules.erase(module)) return INVALID_HANDLE;
    for (auto &entry : module->functions) delete entry.second;
    delete module;
    return SUCCESS;
}
API cuModuleGetFunction(Function **function, Module *module, const char *name) {
    NEEDS(ready());
    auto symbol = [&](const char *prefix) {
        return dlsym(module->library, (prefix + std::string(name)).c_str());
    };
    void *launch = symbol("launch_");
    if (!launch) return NOT_FOUND;
    Function *&found = module->functions[name];
    if (!found) {
        found = new Function{module, name, {}, 0, USUAL_SHARED, nullptr};
        found->launch = reinterpret_cast<int (*)(Launch *)>(launch);
        found->bound = reinterpret_cast<int (*)()>(symbol("bound_"))();
        // Such as "p8 i4 f4": kinds and sizes of the parameters.
        auto signature = reinterpret_cast<const char *(*)()>(symbol("signature_"))();
        std::istringstream words(signature);
        for (std::string word; words >> word;)
            found->sizes.push_back(strtoull(word.c_str() + 1, nullptr, 10));
    }
    *function = found;
    return SUCCESS;
}
API cuFuncGetAttribute(int *value, int attribute, Function *function) {
    const int MAX_THREADS_PER_BLOCK = 0, NUM_REGS = 4;
    *value = attribute == MAX_THREADS_PER_BLOCK ? function->bound : attribute == NUM_REGS ? 32 : 0;
    return SUCCESS;
}
API cuFuncSetAttribute(Function *function, int attribute, int value) {
    const int MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;
    NEEDS(current());
    if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 || size_t(value) > MOST_SHARED)
        return INVALID_VALUE;
    function->dynamic_shared = value;
    return SUCCESS;
}
API cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                   unsigned by, unsigned bz, unsigned shared, Stream *stream, void **, void **extra) {
    NEEDS(current());
    if (stream && !state.streams.count(stream)) return INVALID_HANDLE;
    if (shared > function->dynamic_shared || !gx || !gy || !gz || !bx || !by || !bz)
        return INVALID_VALUE;
    if (bx * by * bz > static_cast<unsigned>(function->bound)) return LAUNCH_OUT_OF_RESOURCES;
    // PyCUDA passes one buffer: pairs of (1, its address), (2, the address of its size), then 0.
    char *buffer = nullptr;
    size_t length = 0;
    for (int i = 0; extra[i]; i += 2) {
        if (extra[i] == reinterpret_cast<void *>(1)) buffer = static_cast<char *>(extra[i + 1]);
        if (extra[i] == reinterpret_cast<void *>(2)) length = *static_cast<size_t *>(extra[i + 1]);
    }
    std::vector<char> values(buffer, buffer + length);
    return enqueue(stream, [=]() mutable -> int {
        size_t offset = 0;
        std::vector<void *> arguments;
        for (size_t size : function->sizes) {
            offset = (offset + size - 1) / size * size;
            arguments.push_back(values.data() + offset);
            offset += size;
        }
        if (offset != values.size()) return INVALID_VALUE;
        Launch launch = {{gx, gy, gz}, {bx, by, bz}, shared, 0, 0, 1, arguments.data(),
                         stacks, tsan_fibers, ""};
        // A kernel runs later than its launch: its failure is seen by the next call.
        if (function->launch(&launch)) state.sticky = ILLEGAL_ADDRESS;
        return SUCCESS;
    });
}

#include "unused.h"

// For the test that the structure is still the emulator's.
API emulated_launch_size() { return sizeof(Launch); }
