// The threads that the pixel functions of this process share.
#pragma once

#include <mutex>

#include "engines/native/team.h"

namespace deeplab {

// f(task) for each task 0 .. tasks - 1, on at most `threads` threads. The threads stay for the next
// call. Where another caller has them at the moment, this one works alone: same result, no waiting.
template <class F>
void for_each_task(int threads, int tasks, F&& f) {
    struct Shared {
        std::mutex mutex;
        LastingTeam team;
    };
    static Shared& shared = *new Shared;  // never destroyed: at exit its threads are asleep

    if (threads > 1 && tasks > 1) {
        const std::unique_lock<std::mutex> mine(shared.mutex, std::try_to_lock);
        if (mine) {
            shared.team.of(threads).parallel_for(tasks, [&](int task, int) { f(task); });
            return;
        }
    }
    for (int task = 0; task < tasks; ++task) f(task);
}

}  // namespace deeplab
