// Fibers: stacks, and the switch from one to another, which the sanitizers are told of.
#pragma once
#include <sys/mman.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#define EMULATION_UCONTEXT
#endif
#if defined(EMULATION_UCONTEXT)
#include <ucontext.h>
#endif

namespace emulation {

const size_t STACK_BYTES = 256 * 1024;  // of address space; pages come as they are touched
const size_t STACK_GUARD = 64 * 1024;

struct Fiber {
    void *stack_pointer;  // while it does not run
    char *stack;          // lowest address
    size_t stack_bytes;
#if defined(EMULATION_UCONTEXT)
    ucontext_t context;
#endif
#if defined(__SANITIZE_ADDRESS__)
    void *fake_stack;
#endif
#if defined(__SANITIZE_THREAD__)
    void *tsan;
#endif
};

// switch_stack(save, load): pushes the registers that a function must preserve, stores the stack
// pointer in *save, and goes on where another fiber did the same and got `load`.
#if defined(__x86_64__)
asm(R"(
    .text
    .local emulation_switch_stack
    .type emulation_switch_stack, @function
emulation_switch_stack:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size emulation_switch_stack, . - emulation_switch_stack
)");
const int ENTRY_WORD = 6;   // the address that `ret` takes
const int FRAME_WORDS = 8;  // at a function's entry the stack is 8 bytes off 16
#elif defined(__aarch64__)
asm(R"(
    .text
    .local emulation_switch_stack
    .type emulation_switch_stack, %function
emulation_switch_stack:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size emulation_switch_stack, . - emulation_switch_stack
)");
const int ENTRY_WORD = 11;  // x30
const int FRAME_WORDS = 20;
#endif
#if !defined(EMULATION_UCONTEXT)
extern "C" void emulation_switch_stack(void **save, void *load);
#endif

static Fiber scheduler;  // the stack that launch() was called on

// Below each stack lies memory that cannot be touched.
UNSANITIZED static char *new_stack() {
    void *memory = mmap(nullptr, STACK_GUARD + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, STACK_GUARD, PROT_NONE)) abort();
    return static_cast<char *>(memory) + STACK_GUARD;
}

// Let the fiber begin at `entry` when it is switched to.
UNSANITIZED static void begin_at(Fiber &fiber, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
    // What a fault left behind of a fiber that never returned.
    __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#endif
#if defined(EMULATION_UCONTEXT)
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = fiber.stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
#else
    void **frame = reinterpret_cast<void **>(fiber.stack + fiber.stack_bytes) - FRAME_WORDS;
    for (int i = 0; i < FRAME_WORDS; ++i) frame[i] = nullptr;
    frame[ENTRY_WORD] = reinterpret_cast<void *>(entry);
    fiber.stack_pointer = frame;
#endif
}

// Leave `from` (for good, if it is `ending`) and go on with `to`.
UNSANITIZED static void switch_fiber(Fiber &from, Fiber &to, bool ending = false) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ending ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to.tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(EMULATION_UCONTEXT)
    swapcontext(&from.context, &to.context);
#else
    emulation_switch_stack(&from.stack_pointer, to.stack_pointer);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
    (void)ending;
}

// To be called first on a new fiber.
UNSANITIZED static void entered_fiber() {
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &scheduler.stack_bytes);
    scheduler.stack = static_cast<char *>(const_cast<void *>(bottom));
#endif
}

}  // namespace emulation
