/*
 * Programs that do what a launched program must not be able to do, and print what they could. Each runs as the
 * unprivileged user, and begins before the preload library: functions in .preinit_array are the first of a program.
 *
 * cc -DATTACK=NAME -o NAME attackers.c
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { MOST = 1024 };

#define ATTACKER __attribute__((unused)) static void

ATTACKER could(const char *what, const char *path)
{
    printf("could %s %s\n", what, path);
    fflush(stdout);
}

__attribute__((unused)) static const char *find_path(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4095);
    path[length < 0 ? 0 : length] = '\0';
    return length < 0 ? NULL : path;
}

/* Write to, grow, unlock and open again every file that was handed down. */
ATTACKER spoil_files(void)
{
    char path[4096], link[64];
    for (int fd = 3; fd < MOST; fd++) {
        struct stat found;
        if (!find_path(fd, path) || fstat(fd, &found))
            continue;
        could("see", path);
        if (!S_ISREG(found.st_mode))
            continue;
        if (flock(fd, LOCK_UN) == 0)
            could("unlock", path);
        if (pwrite(fd, "\033]0;spoiled\a", 12, 0) > 0)
            could("write", path);
        if (ftruncate(fd, 3LL << 30) == 0)
            could("grow", path);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (open(link, O_RDWR) >= 0)
            could("reopen", path);
    }
}

/* Run where it was not put, and have the record say that this was asked for. */
ATTACKER forge_record(void)
{
    char path[4096];
    static char text[1 << 16];
    for (int fd = 3; fd < MOST; fd++) {
        if (!find_path(fd, path) || !strstr(path, ".json"))
            continue;
        ssize_t length = pread(fd, text, sizeof text - 1, 0);
        char *cpus = length > 0 ? strstr(text, "\"cpus\": \"") : NULL;
        char *locked = length > 0 ? strstr(text, "\"memory_locked\": true") : NULL;
        if (!cpus || !locked)
            continue;
        memcpy(strchr(cpus, ':') + 1, "\"0-9\",", 5);
        memcpy(locked, "\"memory_locked\":false", 21);
        if (pwrite(fd, text, length, 0) == length)
            could("forge", path);
    }
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all))
        perror("sched_setaffinity");
}

/* Type into the terminal of whoever launched it, read from it, change it, or make it its own. */
ATTACKER take_terminal(void)
{
    char path[4096], letter = 'x';
    for (int fd = 0; fd < MOST; fd++) {
        struct termios mode;
        if (!find_path(fd, path))
            continue;
        if (tcgetattr(fd, &mode) == 0)
            could("see the terminal", path);
        if (ioctl(fd, TIOCSTI, &letter) == 0)
            could("type", path);
        if (tcsetattr(fd, TCSANOW, &mode) == 0 && isatty(fd))
            could("change", path);
    }
    int own = open("/dev/tty", O_RDWR);
    if (own >= 0)
        could("open", "/dev/tty");
    if (fork() == 0) {
        setsid();
        for (int fd = 0; fd < 3; fd++)
            if (ioctl(fd, TIOCSCTTY, 1) == 0 && ioctl(fd, TIOCSTI, &letter) == 0)
                could("acquire", "the terminal");
        _exit(0);
    }
    wait(NULL);
}

/* Read a key that is in the session keyring of whoever launched it. */
ATTACKER read_key(void)
{
    char secret[64] = "";
    long key = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "launch-test", 0);
    if (key > 0 && syscall(SYS_keyctl, KEYCTL_READ, key, secret, sizeof secret - 1) > 0)
        could("read", secret);
}

/* Leave a process behind that keeps everything that was handed down. */
ATTACKER leave_heir(void)
{
    pid_t heir = fork();
    if (heir == 0) {
        setsid();
        close(0), close(1), close(2);
        sleep(60);
        _exit(0);
    }
    printf("heir %d\n", heir);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = ATTACK;

int main(int count, char **words)
{
    puts("done");
    fflush(stdout);
    if (count > 1 && strcmp(words[1], "unlock") == 0)
        munlockall();
    sleep(count > 2 ? atoi(words[2]) : 60);
    return 0;
}
