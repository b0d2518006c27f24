/*
 * Locks all memory of the program that `hosttune launch` executes, before its main().
 *
 * execve(2) drops memory locks (mlockall(2), NOTES), so the launcher cannot take them on the program's
 * behalf. As an LD_PRELOAD library this constructor runs inside the new image, after its libraries are
 * mapped and before it computes anything. It then removes itself from LD_PRELOAD, so that programs which
 * the agent starts are not locked too, and closes HOSTTUNE_READY_FD: that the process has that descriptor no
 * more is what `hosttune attest` waits for.
 *
 * If the memory cannot be locked, the program does not start: exit status 71 and one line on stderr.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { EXIT_NOT_LOCKED = 71 };

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

/* Drop every entry of LD_PRELOAD that ends in /lockall.so; entries are separated by ':' or ' '. */
static void leave_ld_preload(void)
{
    static const char name[] = "/lockall.so";
    const char *preload = getenv("LD_PRELOAD");
    if (!preload)
        return;
    char *kept = malloc(strlen(preload) + 1);
    if (!kept) {
        unsetenv("LD_PRELOAD");
        return;
    }
    size_t used = 0;
    for (const char *at = preload; *at;) {
        size_t length = strcspn(at, ": ");
        size_t tail = sizeof name - 1;
        int own = length >= tail && memcmp(at + length - tail, name, tail) == 0;
        if (length && !own) {
            if (used)
                kept[used++] = ':';
            memcpy(kept + used, at, length);
            used += length;
        }
        at += length + (at[length] != '\0');
    }
    kept[used] = '\0';
    if (used)
        setenv("LD_PRELOAD", kept, 1);
    else
        unsetenv("LD_PRELOAD");
    free(kept);
}

__attribute__((constructor)) static void lock_all_memory(void)
{
    const char *ready = getenv("HOSTTUNE_READY_FD");
    if (!ready)
        return; /* preloaded by something other than hosttune launch */
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        int error = errno;
        say("hosttune launch: the memory of the program cannot be locked: mlockall: ");
        say(strerror(error));
        say(error == ENOMEM
            ? ": RLIMIT_MEMLOCK is smaller than its address space; raise it (LimitMEMLOCK=infinity, "
              "or memlock in limits.d), or launch with --no-mlock\n"
            : "; it needs RLIMIT_MEMLOCK or CAP_IPC_LOCK; or launch with --no-mlock\n");
        _exit(EXIT_NOT_LOCKED);
    }
    leave_ld_preload();
    close(atoi(ready));
    unsetenv("HOSTTUNE_READY_FD");
}
