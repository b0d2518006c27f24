/* Records of 64 bytes between two threads on two CPUs, by rigtorp::SPSCQueue of 1,024 (its header is not ours; it comes
 * from a checkout). Both spin; between two slices the other thread sleeps.
 *
 *     spsc_peer CPU CPU        reads lines: KIND COUNT, prints for each: NANOSECONDS
 *
 * KIND is queue (a round trip, the median of batches of 100) or stream (a record through one queue, the mean; each is
 * numbered and checked). The first WARM are not counted. A slice that takes a minute ends the program. */
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <rigtorp/SPSCQueue.h>
#include <sched.h>
#include <unistd.h>

namespace {

constexpr int64_t BATCH = 100, WARM = 1000;

struct Message { alignas(64) unsigned char bytes[64]; };
struct Slice { int64_t kind, count; };      // kind: the first letter
using Queue = rigtorp::SPSCQueue<Message>;

void push(Queue &queue, const Message &message)
{
    while (!queue.try_push(message))
        ;
}

void pop(Queue &queue, Message &message)
{
    Message *at;
    while (!(at = queue.front()))
        ;
    message = *at;
    queue.pop();
}

double now()
{
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void pin(int cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus))
        _exit(3);
}

}

int main(int argc, char **argv)
{
    int pipes[2];
    if (argc != 3 || pipe(pipes))
        return 2;
    Queue there(1024), back(1024);
    std::thread other([&] {
        pin(std::atoi(argv[2]));
        Slice slice;
        while (read(pipes[0], &slice, sizeof slice) == sizeof slice) {
            Message message{};
            for (int64_t i = 0; i < slice.count; i++) {
                if (slice.kind == 'q')
                    pop(there, message);
                else
                    std::memcpy(message.bytes, &i, sizeof i);
                push(back, message);
            }
        }
    });
    pin(std::atoi(argv[1]));
    std::vector<double> batches;
    Message message{};
    char kind[16];
    long long count;
    while (std::scanf("%15s %lld", kind, &count) == 2) {
        if (count < BATCH)
            _exit(2);
        Slice slice{kind[0], WARM + count / BATCH * BATCH};
        batches.clear();
        batches.reserve(static_cast<size_t>(count / BATCH));
        alarm(60);
        if (write(pipes[1], &slice, sizeof slice) != sizeof slice)
            _exit(5);
        double begun = 0, first = 0;
        for (int64_t i = 0; i < slice.count; i++) {
            if (i >= WARM && (i - WARM) % BATCH == 0) {
                double at = now();
                if (i == WARM)
                    first = at;
                else
                    batches.push_back((at - begun) / BATCH);
                begun = at;
            }
            if (slice.kind == 'q')
                push(there, message);
            pop(back, message);
            if (slice.kind == 's' && std::memcmp(message.bytes, &i, sizeof i))
                _exit(6);
        }
        double end = now();
        batches.push_back((end - begun) / BATCH);
        if (slice.kind == 's') {
            std::printf("%.2f\n", (end - first) / static_cast<double>(slice.count - WARM));
        } else {
            std::sort(batches.begin(), batches.end());
            std::printf("%.2f\n", batches[batches.size() / 2]);
        }
        std::fflush(stdout);
        alarm(0);
    }
    close(pipes[1]);
    other.join();
    return 0;
}
