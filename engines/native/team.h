// A few threads that stay: started once, used many times a frame.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <unistd.h>

namespace deeplab {

// A fixed number of workers, of which the caller is number 0, so Team(1) starts no thread at all.
//
// An idle worker spins for some 20 us, long enough for the next phase of the same frame, and then
// sleeps: a camera's frames are tens of milliseconds apart, and a spinning core would be taken from
// the network. One thread at a time may call `run` or `parallel_for`. What is called must not throw
// and must not use the team again, except for `barrier`.
class Team {
public:
    explicit Team(int threads) : size_(threads < 1 ? 1 : threads) {
        for (int worker = 1; worker < size_; ++worker) {
            threads_.emplace_back([this, worker] { serve(worker); });
        }
    }

    ~Team() {
        job_ = nullptr;
        publish();
        for (std::thread& thread : threads_) thread.join();
    }

    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return size_; }

    // f(worker) on every worker at once; returns when all have returned.
    template <class F>
    void run(F&& f) {
        job_ = [](void* context, int worker) noexcept {
            (*static_cast<std::remove_reference_t<F>*>(context))(worker);
        };
        context_ = const_cast<void*>(static_cast<const void*>(std::addressof(f)));
        working_ = size_ - 1;
        publish();
        job_(context_, 0);
        await([this] { return working_ == 0; });
    }

    // f(task, worker) for each task 0 .. tasks - 1, in no fixed order: whoever is free takes the
    // next. A result that does not depend on the number of threads comes of tasks that are cut by
    // the problem's size alone and write to places of their own.
    template <class F>
    void parallel_for(int tasks, F&& f) {
        std::atomic<int> next{0};
        run([&](int worker) {
            for (int task = next++; task < tasks; task = next++) f(task, worker);
        });
    }

    // Inside `run`: waits until every worker is here. What they wrote before is visible after.
    void barrier() {
        const unsigned phase = phase_;
        if (++arrived_ == size_) {
            arrived_ = 0;
            ++phase_;
            wake();
        } else {
            await([this, phase] { return phase_ != phase; });
        }
    }

private:
    using Job = void (*)(void*, int) noexcept;

    void serve(int worker) {
        for (unsigned seen = 0;;) {
            await([this, seen] { return generation_ != seen; });
            ++seen;  // a worker misses no generation: `run` waits for all of them
            if (!job_) return;
            job_(context_, worker);
            if (--working_ == 0) wake();
        }
    }

    void publish() {
        ++generation_;
        wake();
    }

    // All counters are sequentially consistent. So either the one who changes a counter sees the
    // sleeper that has announced itself, or the sleeper sees the change before it falls asleep.
    template <class Ready>
    void await(Ready ready) {
        for (int spin = 0; spin < kSpins; ++spin) {
            if (ready()) return;
            pause();
        }
        std::unique_lock<std::mutex> lock(mutex_);
        ++sleepers_;
        changed_.wait(lock, ready);
        --sleepers_;
    }

    void wake() {
        if (sleepers_ == 0) return;
        {
            std::lock_guard<std::mutex> lock(mutex_);
        }  // until the sleeper is truly asleep
        changed_.notify_all();
    }

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("isb" ::: "memory");  // `yield` is a no-op on most cores
#endif
    }

    static constexpr int kSpins = 500;  // a pause takes 40 ns or so (140 cycles since Skylake)

    const int size_;
    std::vector<std::thread> threads_;
    Job job_ = nullptr;
    void* context_ = nullptr;
    std::atomic<unsigned> generation_{0}, phase_{0};
    std::atomic<int> working_{0}, arrived_{0}, sleepers_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
};

// A team that stays. In a forked child, which no thread is copied to, it is a new one.
class LastingTeam {
public:
    ~LastingTeam() { leave_to_parent(); }

    Team& of(int threads) {
        leave_to_parent();
        if (!team_ || team_->size() != threads) {
            team_.reset();
            team_ = std::make_unique<Team>(threads);
            process_ = getpid();
        }
        return *team_;
    }

private:
    void leave_to_parent() {
        if (process_ != getpid()) (void)team_.release();
    }

    std::unique_ptr<Team> team_;
    pid_t process_ = 0;
};

}  // namespace deeplab
