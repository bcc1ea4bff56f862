// Just enough of CUDA C++ to run a kernel on the host, one thread at a time, in a random order.
//
// Each CUDA thread of a block is a fiber. Which fiber runs next is drawn at random at every barrier,
// warp operation and atomic operation, blocks run one after another in a random order, and a warp
// operation that some lane of the warp never reaches is an error. So results that are the same for
// every seed do not depend on the order of execution.

#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

using std::max;
using std::min;

struct Index {
    unsigned int x;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace host {

constexpr int WARP = 32;
constexpr size_t STACK = 64 * 1024;

enum Wait { READY, WARP_BARRIER, BLOCK_BARRIER, FINISHED };

struct Fiber {
    ucontext_t context;
    jmp_buf state;
    bool started = false;
    int turn = 0;
    Wait wait = FINISHED;
    std::vector<char> stack = std::vector<char>(STACK);
};

static std::vector<Fiber> fibers;
static std::vector<unsigned int> ready;
static uint64_t random_state = 1;
static jmp_buf scheduler;
static ucontext_t scheduler_context;
static void (*body)(void**);
static void** arguments;
static unsigned int threads;
static uint64_t exchange[2][1024];  // what each lane hands to its warp, by turns

inline unsigned int draw(unsigned int count) {  // xorshift64
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return static_cast<unsigned int>((random_state >> 33) % count);
}

inline void enter() {
    while (true) {  // a fiber serves its thread of every block
        body(arguments);
        Fiber& fiber = fibers[threadIdx.x];
        fiber.wait = FINISHED;
        if (_setjmp(fiber.state) == 0) _longjmp(scheduler, 1);
    }
}

__attribute__((noinline)) inline void pause(Wait wait) {
    Fiber& fiber = fibers[threadIdx.x];
    fiber.wait = wait;
    if (wait == READY) ready.push_back(threadIdx.x);
    if (_setjmp(fiber.state) == 0) _longjmp(scheduler, 1);
}

__attribute__((noinline)) inline void resume(unsigned int thread) {
    Fiber& fiber = fibers[thread];
    threadIdx.x = thread;
    if (_setjmp(scheduler) != 0) return;
    if (fiber.started) _longjmp(fiber.state, 1);
    fiber.started = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    swapcontext(&scheduler_context, &fiber.context);
}

// Let all threads of [first, last) that wait for `barrier` go on.
inline void release(unsigned int first, unsigned int last, Wait barrier) {
    for (unsigned int t = first; t < last; t++)
        if (fibers[t].wait == barrier) {
            fibers[t].wait = READY;
            ready.push_back(t);
        }
}

// True unless threads wait for a barrier that others never reach.
inline bool run_block() {
    for (unsigned int t = 0; t < threads; t++) {
        fibers[t].wait = READY;
        ready.push_back(t);
    }
    unsigned int alive = threads, in_block = 0;  // threads at work, and of them at the barrier
    std::vector<unsigned int> in_warp((threads + WARP - 1) / WARP, 0);
    while (!ready.empty()) {
        std::swap(ready[draw(ready.size())], ready.back());
        unsigned int thread = ready.back(), warp = thread / WARP;
        ready.pop_back();
        resume(thread);
        Wait wait = fibers[thread].wait;
        alive -= wait == FINISHED;
        in_block += wait == BLOCK_BARRIER;
        if (wait == WARP_BARRIER && ++in_warp[warp] == WARP) {
            release(warp * WARP, warp * WARP + WARP, WARP_BARRIER);
            in_warp[warp] = 0;
        }
        if (in_block > 0 && in_block == alive) {
            release(0, threads, BLOCK_BARRIER);
            in_block = 0;
        }
    }
    if (alive == 0) return true;
    fibers.clear();  // half-run threads: begin anew
    return false;
}

inline bool run_grid(void (*kernel)(void**), void** values, unsigned int blocks, unsigned int size) {
    body = kernel;
    arguments = values;
    threads = blockDim.x = size;
    gridDim.x = blocks;
    if (fibers.size() < size) fibers = std::vector<Fiber>(size);
    std::vector<unsigned int> order(blocks);
    std::iota(order.begin(), order.end(), 0u);
    for (unsigned int left = blocks; left > 0; left--) {
        std::swap(order[draw(left)], order[left - 1]);
        blockIdx.x = order[left - 1];
        if (!run_block()) return false;
    }
    return true;
}

// Call kernel(*arguments[0], *arguments[1], ...), as cuLaunchKernel's kernelParams are.
template <typename... Parameters, size_t... Places>
void call(void (*kernel)(Parameters...), void** values, std::index_sequence<Places...>) {
    kernel(*static_cast<std::remove_reference_t<Parameters>*>(values[Places])...);
}

template <typename... Parameters>
void call(void (*kernel)(Parameters...), void** values) {
    call(kernel, values, std::index_sequence_for<Parameters...>());
}

// The values of the warp's lanes. Two turns, so that the next exchange does not overwrite this one:
// no lane can be two ahead.
template <typename Value>
uint64_t* exchanged(Value value) {
    static_assert(sizeof(Value) <= 8, "one register");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    uint64_t* turn = exchange[fibers[threadIdx.x].turn ^= 1];
    turn[threadIdx.x] = bits;
    pause(WARP_BARRIER);
    return turn + threadIdx.x / WARP * WARP;
}

}  // namespace host

#define HOST_KERNEL(name) \
    extern "C" bool launch_##name(void** arguments, unsigned int blocks, unsigned int threads) { \
        return host::run_grid([](void** a) { host::call(name, a); }, arguments, blocks, threads); \
    }

extern "C" void seed_order(uint64_t seed) { host::random_state = seed * 2 + 1; }

inline void __syncthreads() { host::pause(host::BLOCK_BARRIER); }

inline void __syncwarp() { host::pause(host::WARP_BARRIER); }

template <typename Value>
Value from_lane(Value value, int lane) {
    uint64_t other = host::exchanged(value)[lane];
    __builtin_memcpy(&value, &other, sizeof value);
    return value;
}

template <typename Value>
Value __shfl_xor_sync(unsigned int, Value value, int reach) {
    return from_lane(value, threadIdx.x % host::WARP ^ reach);
}

template <typename Value>
Value __shfl_up_sync(unsigned int, Value value, int reach) {
    int lane = threadIdx.x % host::WARP;
    return from_lane(value, lane >= reach ? lane - reach : lane);
}

inline unsigned int __match_any_sync(unsigned int, int value) {
    uint64_t* lanes = host::exchanged(value);
    unsigned int equal = 0;
    for (int lane = 0; lane < host::WARP; lane++)
        if (static_cast<int>(lanes[lane]) == value) equal |= 1u << lane;
    return equal;
}

inline int __popc(unsigned int bits) { return __builtin_popcount(bits); }

template <typename Value>
Value atomicAdd(Value* address, Value value) {
    host::pause(host::READY);
    return std::exchange(*address, *address + value);
}

inline unsigned long long atomicCAS(
    unsigned long long* address, unsigned long long expected, unsigned long long value
) {
    host::pause(host::READY);
    return *address == expected ? std::exchange(*address, value) : *address;
}
