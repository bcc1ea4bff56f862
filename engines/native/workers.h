// The threads that the pixel functions of this process share.
#pragma once

#include <memory>
#include <mutex>

#include <unistd.h>

#include "engines/native/team.h"

namespace deeplab {

// f(task) for each task 0 .. tasks - 1, on at most `threads` threads. The threads stay for the next
// call. Where another caller has them at the moment, this one works alone: same result, no waiting.
template <class F>
void for_each_task(int threads, int tasks, F&& f) {
    struct Shared {
        std::mutex mutex;
        std::unique_ptr<Team> team;
        pid_t process = 0;
    };
    static Shared& shared = *new Shared;  // never destroyed: at exit its threads are asleep

    if (threads > 1 && tasks > 1) {
        const std::unique_lock<std::mutex> mine(shared.mutex, std::try_to_lock);
        if (mine) {
            if (shared.process != getpid()) (void)shared.team.release();  // a fork copies no thread
            if (!shared.team || shared.team->size() != threads) {
                shared.team.reset();
                shared.team = std::make_unique<Team>(threads);
                shared.process = getpid();
            }
            shared.team->parallel_for(tasks, [&](int task, int) { f(task); });
            return;
        }
    }
    for (int task = 0; task < tasks; ++task) f(task);
}

}  // namespace deeplab
