/*
 * System calls that Python 3.11 has no function for; each raises OSError with the kernel's answer.
 *
 * In C: a launch waits for the import, and what Cython makes for the limited API imports `inspect` (5 ms).
 * Sources: prctl(2), capset(2), capabilities(7), keyctl_join_session_keyring(3), rt_sigaction(2), nptl(7).
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static PyObject *conclude(int failed)
{
    if (failed)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *set_no_new_privileges(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    return conclude(prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL));
}

static PyObject *set_parent_death_signal(PyObject *Py_UNUSED(self), PyObject *words)
{
    unsigned long number;
    if (!PyArg_ParseTuple(words, "k", &number))
        return NULL;
    return conclude(prctl(PR_SET_PDEATHSIG, number, 0UL, 0UL, 0UL));
}

static PyObject *empty_bounding_set(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    for (unsigned long number = 0;; number++) {
        int held = prctl(PR_CAPBSET_READ, number, 0UL, 0UL, 0UL);
        if (held < 0 && errno == EINVAL && number)
            Py_RETURN_NONE; /* beyond the kernel's last capability */
        if (held < 0 || (held && prctl(PR_CAPBSET_DROP, number, 0UL, 0UL, 0UL)))
            return conclude(1);
    }
}

static PyObject *set_capabilities(PyObject *Py_UNUSED(self), PyObject *words)
{
    unsigned long long permitted, effective;
    if (!PyArg_ParseTuple(words, "KK", &permitted, &effective))
        return NULL;
    /* EINVAL: before Linux 4.3, which has no ambient set. */
    if (prctl(PR_CAP_AMBIENT, (unsigned long)PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL) && errno != EINVAL)
        return conclude(1);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct sets[] = {
        {.permitted = (__u32)permitted, .effective = (__u32)effective},
        {.permitted = (__u32)(permitted >> 32), .effective = (__u32)(effective >> 32)},
    };
    return conclude(syscall(SYS_capset, &header, sets) != 0);
}

static PyObject *join_new_session_keyring(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    /* ENOSYS: a kernel without keys. EPERM: a seccomp filter, which the program has too. */
    long keyring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
    return conclude(keyring < 0 && errno != ENOSYS && errno != EPERM);
}

static PyObject *reset_signal_actions(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    /* By the system call: the C library refuses its own signals (32 and 33), which a caller that was started by
     * posix_spawn has ignored. All zero is SIG_DFL in each architecture's structure, none of which is over 64 bytes. */
    static const char default_action[64];
    for (int number = 1; number <= 64; number++)
        if (number != SIGKILL && number != SIGSTOP &&
            syscall(SYS_rt_sigaction, number, default_action, NULL, (size_t)8))
            return conclude(1);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_no_new_privileges", set_no_new_privileges, METH_NOARGS, NULL},
    {"set_parent_death_signal", set_parent_death_signal, METH_VARARGS, NULL},
    {"empty_bounding_set", empty_bounding_set, METH_NOARGS, NULL},
    {"set_capabilities", set_capabilities, METH_VARARGS, NULL},
    {"join_new_session_keyring", join_new_session_keyring, METH_NOARGS, NULL},
    {"reset_signal_actions", reset_signal_actions, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_kernel", .m_size = 0, .m_methods = functions};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModuleDef_Init(&definition);
}
