// The worker team, many short runs at several sizes; exits with 1 at the first wrong sum.
#include <chrono>
#include <cstdio>
#include <numeric>

#include "engines/native/team.h"

using deeplab::Team;

namespace {

bool every_worker_runs_once(Team& team) {
    std::vector<int> ran(team.size(), 0);
    team.run([&](int worker) { ++ran[worker]; });
    return ran == std::vector<int>(team.size(), 1);
}

bool every_task_runs_once(Team& team, int tasks) {
    std::vector<int> ran(tasks, 0);
    team.parallel_for(tasks, [&](int task, int) { ++ran[task]; });
    return ran == std::vector<int>(tasks, 1);
}

// Each phase reads what all workers wrote in the phase before.
bool barriers_order_phases(Team& team) {
    constexpr int phases = 20;
    std::vector<std::vector<int>> written(phases, std::vector<int>(team.size(), 0));
    team.run([&](int worker) {
        for (int phase = 0; phase < phases; ++phase) {
            int before = 1;
            if (phase) before = std::accumulate(written[phase - 1].begin(), written[phase - 1].end(), 0);
            written[phase][worker] = before % 1000 + worker;
            team.barrier();
        }
    });
    int expected = 1;
    for (const std::vector<int>& row : written) {
        int sum = 0;
        for (int worker = 0; worker < team.size(); ++worker) {
            if (row[worker] != expected % 1000 + worker) return false;
            sum += row[worker];
        }
        expected = sum;
    }
    return true;
}

}  // namespace

int main() {
    for (int threads : {1, 2, 3, 7}) {
        Team team(threads);
        for (int round = 0; round < 300; ++round) {
            // Every tenth round the workers have gone to sleep.
            if (round % 10 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
            const bool right = every_worker_runs_once(team) && every_task_runs_once(team, round % 40) &&
                               barriers_order_phases(team);
            if (!right) {
                std::printf("%d threads, round %d: wrong\n", threads, round);
                return 1;
            }
        }
    }
    { Team unused(3); }  // starts and stops without work
    std::puts("team: ok");
}
