/* SPDX-License-Identifier: Apache-2.0
 *
 * The only program of a guest that boots to say what the kernel made of its command line: it prints files of /proc and
 * /sys, and what the kernel's log says of the parameters, and switches the guest off.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const FILES[] = {
    "/proc/cmdline",
    "/proc/sys/kernel/osrelease",
    "/proc/irq/default_smp_affinity",
    "/sys/devices/system/cpu/possible",
    "/sys/devices/system/cpu/isolated",
    "/sys/devices/system/cpu/nohz_full",
    "/sys/devices/system/node/node*/hugepages/hugepages-*kB/nr_hugepages",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
    "/sys/kernel/mm/transparent_hugepage/hugepages-*kB/enabled",
    "/sys/kernel/mm/transparent_hugepage/hugepages-*kB/shmem_enabled",
};
static const char *const WORDS[] = {
    "ousekeeping", "isolcpus", "NO_HZ", "Offload RCU", "rcu_nocbs", "HugeTLB", "hugepage", "Hugepage", "thp_anon",
};

static void print_file(const char *path)
{
    char text[65536];
    ssize_t total = 0, got;
    int file = open(path, O_RDONLY);
    if (file < 0)
        return;
    while ((got = read(file, text + total, sizeof text - 1 - total)) > 0)
        total += got;
    close(file);
    text[total] = 0;
    printf("@@ %s\n%s%s", path, text, total && text[total - 1] == '\n' ? "" : "\n");
}

static void print_log(void)
{
    static char log[1 << 20];
    int length = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, log, sizeof log - 1);
    log[length > 0 ? length : 0] = 0;
    printf("@@ log\n");
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
        for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
            if (strstr(line, WORDS[i]) && !strstr(line, "ommand line")) {
                printf("%s\n", strstr(line, "] ") ? strstr(line, "] ") + 2 : line);
                break;
            }
}

int main(void)
{
    mkdir("/proc", 0555);
    mkdir("/sys", 0555);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    printf("\n@@ begin\n");
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        glob_t found;
        if (glob(FILES[i], 0, NULL, &found) == 0)
            for (size_t j = 0; j < found.gl_pathc; j++)
                print_file(found.gl_pathv[j]);
        globfree(&found);
    }
    print_log();
    printf("@@ end\n");
    fflush(stdout);
    reboot(RB_AUTOBOOT); /* qemu -no-reboot ends here */
    return 1;
}
