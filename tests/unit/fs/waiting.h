/*
 * A process for which signals are pending: what asker.h and interrupt.h look at.
 */
#pragma once

#include <check.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(int signal)
{
        (void)signal;
}

/* A process in a wait that only what is fatal ends, as of vfork(2), without its shared memory: what else is sent to it
 * stays pending. */
struct waiting {
        pid_t pid, keeper; /* which it waits for */
};

static struct waiting wait_begins(void)
{
        struct waiting w;
        int told[2];

        ck_assert_int_eq(pipe(told), 0);
        w.pid = fork();
        ck_assert_int_ge(w.pid, 0);
        if (w.pid == 0) {
                for (int s = 1; s < NSIG; s++)
                        signal(s, nothing);
                if (syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0) == 0) {
                        pid_t self = getpid();

                        if (write(told[1], &self, sizeof(self)) == sizeof(self))
                                for (;;)
                                        pause();
                        _exit(0);
                }
                _exit(0);
        }
        ck_assert_int_eq(read(told[0], &w.keeper, sizeof(w.keeper)), sizeof(w.keeper));
        close(told[0]);
        close(told[1]);
        return w;
}

static void wait_ends(struct waiting w)
{
        ck_assert_int_eq(kill(w.keeper, SIGKILL), 0);
        ck_assert_int_eq(waitpid(w.pid, NULL, 0), w.pid);
}
