/* Preloaded into a process that opens PAM sessions: a limit that is set is written to the descriptor that REPORT names,
 * and is not set, which only root may. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>

int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
    const char *report = getenv("REPORT");
    if (report)
        dprintf(atoi(report), "%d %llu %llu\n", (int)resource, (unsigned long long)limit->rlim_cur,
                (unsigned long long)limit->rlim_max);
    return 0;
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return setrlimit64(resource, (const struct rlimit64 *)limit);
}

int setpriority(__priority_which_t which, id_t who, int priority)
{
    (void)which, (void)who, (void)priority;
    return 0;
}
