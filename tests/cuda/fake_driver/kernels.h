// Modules, which are libraries that the emulator made, and their kernels.
#pragma once
#include "graphs.h"
#include "state.h"

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
