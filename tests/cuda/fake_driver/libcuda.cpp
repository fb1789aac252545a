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
#include "kernels.h"
#include "memory.h"
#include "state.h"
#include "unused.h"

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
    for (void *stream : state.streams)
        if (static_cast<Stream *>(stream)->captured) return STREAM_CAPTURE_UNSUPPORTED;
    return SUCCESS;
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

// For the test that the structure is still the emulator's.
API emulated_launch_size() { return sizeof(Launch); }
