// Undefined behaviour as a fault of the launch, not as a crash of the process.
//
// The plain build is compiled with some of -fsanitize=undefined and these handlers in the place of
// the sanitizer's library. The builds for the address and the thread sanitizer have the library.
#pragma once
#include <signal.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace emulation {

// How the compiler describes a check begins with this in all cases.
struct Location {
    const char *file;
    unsigned line, column;
};

UNSANITIZED static void fault(const Location &location, const char *what) {
    fail("%s in %s:%u", what, file_name(location.file), location.line);
    abort();
}

UNSANITIZED static void on_signal(int, siginfo_t *signal, void *) {
    const char *address = static_cast<char *>(signal->si_addr);
    const char *stack = current ? current->fiber.stack : nullptr;
    if (stack && address < stack && address >= stack - STACK_GUARD)
        fail("more local variables than %zu bytes", STACK_BYTES);
    fail("an address that is not in memory: %p", signal->si_addr);
    abort();
}

struct Signals {
    struct sigaction segv, bus;
    stack_t stack;

    UNSANITIZED void watch() {
        static char handler_stack[64 * 1024];
        stack_t own = {};
        own.ss_sp = handler_stack;
        own.ss_size = sizeof handler_stack;
        sigaltstack(&own, &stack);
        struct sigaction action = {};
        action.sa_sigaction = on_signal;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // it does not return
        sigaction(SIGSEGV, &action, &segv);
        sigaction(SIGBUS, &action, &bus);
    }
    UNSANITIZED void restore() {
        sigaction(SIGSEGV, &segv, nullptr);
        sigaction(SIGBUS, &bus, nullptr);
        sigaltstack(&stack, nullptr);
    }
};

}  // namespace emulation

#define HANDLER(name, what, ...)                                                       \
    extern "C" void __ubsan_handle_##name(emulation::Location *at, ##__VA_ARGS__) { \
        emulation::fault(*at, what);                                                   \
    }
HANDLER(out_of_bounds, "an index out of the bounds of its array", void *)
HANDLER(divrem_overflow, "a division of integers by zero", void *, void *)
HANDLER(add_overflow, "an overflow of a sum of signed integers", void *, void *)
HANDLER(sub_overflow, "an overflow of a difference of signed integers", void *, void *)
HANDLER(mul_overflow, "an overflow of a product of signed integers", void *, void *)
HANDLER(negate_overflow, "an overflow of a signed integer", void *)
HANDLER(shift_out_of_bounds, "a shift by too many bits", void *, void *)
#undef HANDLER

extern "C" void __ubsan_handle_type_mismatch_v1(emulation::Location *at, void *address) {
    emulation::fault(*at, address ? "a misaligned address" : "a null address");
}

#else

namespace emulation {
struct Signals {
    void watch() {}
    void restore() {}
};
}  // namespace emulation

#endif
