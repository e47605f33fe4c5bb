/* A wall clock that runs at another speed, for `scripts/soak.py`: LD_PRELOAD makes every process below it read
 *
 *     FAST_CLOCK_START + (real time - FAST_CLOCK_ORIGIN) * FAST_CLOCK_RATE     (Unix seconds)
 *
 * Only the wall clock is changed, and with it when files were written since the origin. Sleeps, timeouts and the monotonic clock stay real: a timeout means as much work as it
 * always does. A wait for a time of the wall clock lasts as many real seconds as it has seconds left.
 * (libfaketime 0.9.10 cannot: it breaks time.sleep of Python 3.11, and starts each process at the same time again.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define NANO 1000000000LL
#define MONOTONIC_ENDS_S 500000000 /* what is less is no wall clock time, but seconds since the machine started */

static int (*next_clock_gettime)(clockid_t, struct timespec *);
static int (*next_cond_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*next_sem_timedwait)(sem_t *, const struct timespec *);
static long long start_ns, origin_ns;
static double rate = 1.0;

static long long nanoseconds(const char *variable) {
    const char *text = getenv(variable);
    return text ? (long long)(strtod(text, NULL) * 1e3) * (NANO / 1000) : 0;
}

__attribute__((constructor)) static void begin(void) {
    next_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    next_cond_timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!next_cond_timedwait) next_cond_timedwait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    next_sem_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    start_ns = nanoseconds("FAST_CLOCK_START");
    origin_ns = nanoseconds("FAST_CLOCK_ORIGIN");
    if (getenv("FAST_CLOCK_RATE")) rate = strtod(getenv("FAST_CLOCK_RATE"), NULL);
}

static long long real_ns(void) {
    struct timespec now;
    if (!next_clock_gettime) begin();
    next_clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * NANO + now.tv_nsec;
}

static long long fast_ns(void) {
    long long real = real_ns();
    return start_ns + (long long)((double)(real - origin_ns) * rate);
}

int clock_gettime(clockid_t clock, struct timespec *found) {
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
        if (!next_clock_gettime) begin();
        return next_clock_gettime(clock, found);
    }
    long long now = fast_ns();
    *found = (struct timespec){.tv_sec = now / NANO, .tv_nsec = now % NANO};
    return 0;
}

int gettimeofday(struct timeval *found, void *zone) {
    long long now = fast_ns();
    (void)zone;
    *found = (struct timeval){.tv_sec = now / NANO, .tv_usec = now % NANO / 1000};
    return 0;
}

time_t time(time_t *found) {
    time_t now = fast_ns() / NANO;
    if (found) *found = now;
    return now;
}

/* The real deadline of a wait until `fast`, a time of the fast wall clock. */
static struct timespec real_deadline(const struct timespec *fast) {
    long long deadline = real_ns() + (fast->tv_sec * NANO + fast->tv_nsec - fast_ns());
    return (struct timespec){.tv_sec = deadline / NANO, .tv_nsec = deadline % NANO};
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    if (until->tv_sec < MONOTONIC_ENDS_S) return next_cond_timedwait(condition, mutex, until);
    struct timespec deadline = real_deadline(until);
    return next_cond_timedwait(condition, mutex, &deadline);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    struct timespec deadline = real_deadline(until);
    return next_sem_timedwait(semaphore, &deadline);
}

/* Files that were written since the origin were written in fast time. Older ones keep their time: Python compares that of
 * its modules with what it has compiled. */
static int written(int result, struct stat *found) {
    long long at = found->st_mtim.tv_sec * NANO + found->st_mtim.tv_nsec;
    if (result == 0 && at >= origin_ns) {
        at = start_ns + (long long)((double)(at - origin_ns) * rate);
        found->st_mtim = (struct timespec){.tv_sec = at / NANO, .tv_nsec = at % NANO};
    }
    return result;
}

#define WITH_FAST_TIME(name, parameters, arguments)                          \
    int name parameters {                                                    \
        static int(*next) parameters;                                        \
        if (!next) *(void **)&next = dlsym(RTLD_NEXT, #name);                \
        return written(next arguments, (struct stat *)found);                \
    }

WITH_FAST_TIME(stat, (const char *path, struct stat *found), (path, found))
WITH_FAST_TIME(lstat, (const char *path, struct stat *found), (path, found))
WITH_FAST_TIME(fstat, (int file, struct stat *found), (file, found))
WITH_FAST_TIME(fstatat, (int folder, const char *path, struct stat *found, int flags), (folder, path, found, flags))
WITH_FAST_TIME(stat64, (const char *path, struct stat64 *found), (path, found))
WITH_FAST_TIME(lstat64, (const char *path, struct stat64 *found), (path, found))
WITH_FAST_TIME(fstat64, (int file, struct stat64 *found), (file, found))
WITH_FAST_TIME(fstatat64, (int folder, const char *path, struct stat64 *found, int flags), (folder, path, found, flags))
