/* Threads that share one step's work.
 *
 * Inside a job they wait for each other by spinning, which costs a fraction of a microsecond where a
 * wake-up costs fifty; after a while they yield, so that on a busy machine the one that was
 * preempted gets its core back. Between jobs they sleep in the kernel.
 */
#define _GNU_SOURCE
#include "kernels.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 2000, SPINS_BEFORE_SLEEP = 1000 };

struct cx_pool {
    int threads;
    pthread_t *handle;
    cx_thread *thread;
    cx_job job;
    void *context;
    int stopping;
    _Alignas(64) atomic_int ticket; /* one more for each job; what sleepers wait on */
    _Alignas(64) atomic_int running;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int round;
    _Alignas(64) atomic_int next;
};

static void relax(int *spins) {
    if (++*spins < SPINS)
        _mm_pause();
    else
        sched_yield();
}

static void futex_wait(atomic_int *word, int while_equal) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_equal, NULL, NULL, 0);
}

static void futex_wake(atomic_int *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
}

static int await_job(cx_pool *pool, int seen) {
    for (int spins = 0; spins < SPINS_BEFORE_SLEEP; spins++) {
        if (atomic_load_explicit(&pool->ticket, memory_order_acquire) != seen) return seen + 1;
        _mm_pause();
    }
    while (atomic_load_explicit(&pool->ticket, memory_order_acquire) == seen)
        futex_wait(&pool->ticket, seen);
    return seen + 1;
}

static void *serve(void *argument) {
    cx_thread *self = argument;
    cx_pool *pool = self->pool;
    for (int seen = 0;;) {
        seen = await_job(pool, seen);
        if (pool->stopping) return NULL;
        pool->job(pool->context, self);
        atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
    }
}

cx_pool *cx_pool_new(int threads) {
    cx_pool *pool = aligned_alloc(64, (sizeof *pool + 63) / 64 * 64);
    if (!pool) return NULL;
    *pool = (cx_pool){.threads = 1};
    pool->thread = calloc((size_t)threads, sizeof *pool->thread);
    pool->handle = calloc((size_t)threads, sizeof *pool->handle);
    if (!pool->thread || !pool->handle) {
        cx_pool_free(pool);
        return NULL;
    }
    pool->thread[0] = (cx_thread){pool, 0};
    for (int id = 1; id < threads; id++) {
        pool->thread[id] = (cx_thread){pool, id};
        if (pthread_create(&pool->handle[id], NULL, serve, &pool->thread[id])) break;
        pool->threads = id + 1; /* with fewer threads than asked for it is slower, not wrong */
    }
    return pool;
}

void cx_pool_free(cx_pool *pool) {
    if (!pool) return;
    pool->stopping = 1;
    atomic_fetch_add_explicit(&pool->ticket, 1, memory_order_release);
    futex_wake(&pool->ticket);
    for (int id = 1; id < pool->threads; id++) pthread_join(pool->handle[id], NULL);
    free(pool->handle);
    free(pool->thread);
    free(pool);
}

void cx_pool_run(cx_pool *pool, cx_job job, void *context) {
    pool->job = job;
    pool->context = context;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->running, pool->threads - 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool->ticket, 1, memory_order_release);
    if (pool->threads > 1) futex_wake(&pool->ticket);
    job(context, &pool->thread[0]);
    for (int spins = 0; atomic_load_explicit(&pool->running, memory_order_acquire);) relax(&spins);
}

int cx_pool_threads(const cx_pool *pool) { return pool->threads; }

int cx_threads(const cx_thread *self) { return self->pool->threads; }

void cx_barrier(cx_thread *self) {
    cx_pool *pool = self->pool;
    int round = atomic_load_explicit(&pool->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->threads - 1) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->round, 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&pool->round, memory_order_acquire) == round;)
        relax(&spins);
}

int cx_take(cx_thread *self, int total, int chunk, int *first, int *last) {
    *first = atomic_fetch_add_explicit(&self->pool->next, chunk, memory_order_relaxed);
    if (*first >= total) return 0;
    *last = *first + chunk < total ? *first + chunk : total;
    return 1;
}

int cx_supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

int cx_wide;

int cx_use_avx512(int32_t wanted) {
    __builtin_cpu_init();
    cx_wide = wanted && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    return cx_wide;
}
