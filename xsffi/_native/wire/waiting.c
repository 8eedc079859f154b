/* How threads sleep, and how they are woken. */

#define _GNU_SOURCE

#include "connection.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
/* How long to wait for a reply with an id of ours once one with another id has arrived. */
#define GRACE (SECOND / 50)
#define SPIN_OTHER_WAY 64 /* one wait in this many uses the slower way, in case that has changed */
/* While more replies than this are outstanding, the reader naps instead of being woken for each: a wakeup would cost the
 * daemon and us more than the request itself. A nap lasts for at most so many replies, or bytes of them, since a socket's
 * buffer of the usual size has room for little more (some 45 replies of one byte, 18 of 1000), and the daemon stops when it
 * is full. The time that one reply takes is measured. After so many naps in vain it sleeps: the daemon is busy or hung. */
#define NAP_MISSING 8
#define NAP_REPLIES 24
#define NAP_BYTES 8192
#define PACE_MIN 1000 /* nanoseconds for each reply */
#define PACE_MAX 64000
#define NAPS_IN_VAIN 10

int64_t xsffi_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static int64_t one_wait(const struct connection *c, int64_t deadline)
{
    int64_t left = deadline < 0 ? c->longest : deadline - xsffi_now();

    return left < 0 ? 0 : left < c->longest ? left : c->longest;
}

/* A semaphore would do if it could wait by a monotonic clock. */
static int futex_wait(uint32_t *word, int64_t time)
{
    struct timespec left = { .tv_sec = (time_t)(time / SECOND), .tv_nsec = (long)(time % SECOND) };

    return (int)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, &left, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
    __atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static int poll_for(struct pollfd *polled, nfds_t count, int64_t time)
{
    struct timespec left = { .tv_sec = (time_t)(time / SECOND), .tv_nsec = (long)(time % SECOND) };

    return ppoll(polled, count, &left, NULL);
}

void wake(struct connection *c, struct waiter *w)
{
    if (w->queue != NULL) {
        w->queue->is_set = true;
        set_wakeup(w->queue->wakeup);
    } else if (w->polls) {
        set_wakeup(c->wakeup);
    } else {
        futex_wake(&w->word);
    }
}

static void link_waiter(struct connection *c, struct waiter *w)
{
    w->next = c->waiters;
    c->waiters = w;
}

static void unlink_waiter(struct connection *c, struct waiter *w)
{
    struct waiter **at = &c->waiters;

    while (*at != NULL && *at != w)
        at = &(*at)->next;
    if (*at != NULL)
        *at = w->next;
    if (c->reader == w)
        c->reader = NULL;
}

/* Whether the thread that waits for `exchange` or, if NULL, for events may read: requests come first, since a reply is
 * expected soon. */
static bool may_read(const struct connection *c, const struct exchange *exchange)
{
    return c->reader == NULL || (exchange != NULL && c->reader->exchange == NULL);
}

/* A thread leaves that may have been the reader: another must take over. */
static void pass_on(struct connection *c)
{
    struct waiter *next = NULL;

    if (c->reader != NULL || c->state != OPEN)
        return;
    for (struct waiter *w = c->waiters; w != NULL; w = w->next) {
        if (w->exchange != NULL) {
            wake(c, w);
            return;
        }
        if (next == NULL || (w->polls && !next->polls))
            next = w;
    }
    if (next != NULL && next->polls)
        c->reader = next; /* it is still sleeping on the socket */
    else if (next != NULL)
        wake(c, next);
}

static int64_t spin_time(struct connection *c)
{
    struct spin *spin = &c->spin;
    bool spins = spin->trip[true] <= spin->trip[false];

    if (++spin->waits % SPIN_OTHER_WAY == 0)
        spins = !spins;
    return spins ? spin->limit : 0;
}

static void learn(struct connection *c, bool spun, int64_t trip)
{
    /* A very slow reply says little about either way: the daemon was busy. */
    if (trip > 4 * c->spin.limit)
        trip = 4 * c->spin.limit;
    c->spin.trip[spun] += (trip - c->spin.trip[spun]) / 8;
}

/* Sleeps until the socket is readable (or writable, if something is left to send), or the thread is woken; the lock is
 * released meanwhile. False if the time is up, or a signal arrived. */
static bool sleep_on_socket(struct connection *c, struct exchange *x, int64_t time, bool unsent, unsigned *naps)
{
    struct pollfd polled[2] = {
        { .fd = c->wakeup, .events = POLLIN },
        { .fd = c->fd, .events = unsent ? POLLIN | POLLOUT : POLLIN },
    };
    int ready;

    if (c->suspects != NULL && time > GRACE)
        time = GRACE;
    if (!unsent && x->missing > NAP_MISSING && *naps < NAPS_IN_VAIN) {
        const int64_t nap = (x->missing < NAP_REPLIES ? x->missing : NAP_REPLIES) * c->pace;

        ++*naps;
        pthread_mutex_unlock(&c->lock);
        ready = poll_for(polled, 1, nap);
        if (ready == 0)
            ready = 1;
    } else {
        pthread_mutex_unlock(&c->lock);
        ready = poll_for(polled, 2, time);
    }
    pthread_mutex_lock(&c->lock);
    if (polled[0].revents && c->wakeup >= 0)
        clear_wakeup(c->wakeup);
    return ready > 0;
}

/* Reads until the exchange is complete or the caller must check something else. DONE means no more than that. */
static enum outcome read_for(struct connection *c, struct waiter *me, int64_t deadline, int64_t spin_until, unsigned *naps)
{
    struct exchange *x = me->exchange;
    uint32_t missing = x->missing;
    const uint64_t bytes = c->received;
    bool unsent;

    c->reader = me;
    me->polls = true;
    c->awake = me;
    receive(c);
    unsent = flush(c);
    c->awake = NULL;
    while (x->missing > 0 && c->state == OPEN && xsffi_now() < spin_until) {
        pthread_mutex_unlock(&c->lock);
        pthread_mutex_lock(&c->lock);
        c->awake = me;
        receive(c);
        c->awake = NULL;
    }
    if (*naps > 0) {
        const uint32_t came = missing - x->missing;
        const bool is_enough = came >= NAP_REPLIES || x->missing == 0 || c->received - bytes >= NAP_BYTES;

        c->pace += (is_enough ? -1 : 1) * c->pace / 8;
        c->pace = c->pace < PACE_MIN ? PACE_MIN : c->pace < PACE_MAX ? c->pace : PACE_MAX;
    }
    if (x->missing < missing)
        *naps = 0;
    if (x->missing == 0 || c->state != OPEN)
        return DONE;
    if (sleep_on_socket(c, x, one_wait(c, deadline), unsent, naps))
        return DONE;
    if (c->suspects != NULL)
        accept_suspects(c);
    return SIGNAL;
}

static enum outcome wait_locked(struct connection *c, struct exchange *x, int64_t deadline)
{
    struct waiter me = { .exchange = x };
    const bool is_single = x->count == 1;
    int64_t begin = 0, spin = 0;
    enum outcome outcome = DONE;
    unsigned naps = 0;

    if (is_single && c->spin.limit > 0 && x->missing > 0 && (c->waiters == NULL || c->waiters->exchange == NULL)) {
        begin = xsffi_now();
        spin = spin_time(c);
    }
    x->waiter = &me;
    link_waiter(c, &me);
    while (x->missing > 0) {
        if (c->state != OPEN) {
            outcome = OVER;
            break;
        }
        if (deadline >= 0 && xsffi_now() >= deadline) {
            outcome = TIMED_OUT;
            break;
        }
        if (outcome == SIGNAL)
            break;
        if (c->reader == &me || may_read(c, x)) {
            outcome = read_for(c, &me, deadline, begin + spin, &naps);
        } else {
            int slept;

            me.polls = false;
            me.word = 0;
            pthread_mutex_unlock(&c->lock);
            slept = futex_wait(&me.word, one_wait(c, deadline));
            outcome = slept < 0 && (errno == EINTR || errno == ETIMEDOUT) ? SIGNAL : DONE;
            pthread_mutex_lock(&c->lock);
        }
    }
    if (x->missing == 0) {
        outcome = DONE;
        if (begin > 0)
            learn(c, spin > 0, xsffi_now() - begin);
    }
    x->waiter = NULL;
    unlink_waiter(c, &me);
    pass_on(c);
    return outcome;
}

enum outcome connection_wait(struct connection *c, struct exchange *x, int64_t deadline)
{
    enum outcome outcome;

    connection_lock(c);
    outcome = wait_locked(c, x, deadline);
    pthread_mutex_unlock(&c->lock);
    return outcome;
}

/* Takes the next event, after receiving what has arrived, unless another thread is reading. */
static struct event *take_event(struct connection *c, struct queue *q)
{
    struct event *event;

    if (q->head == NULL && c->state == OPEN && may_read(c, NULL)) {
        receive(c);
        flush(c); /* there may be a transaction to abort that nobody waits for */
    }
    event = q->head;
    if (event != NULL) {
        q->head = event->next;
        if (q->head == NULL)
            q->tail = &q->head;
        q->count--;
    }
    return event;
}

/* Sleeps until there may be an event. False if the time is up, or a signal arrived. */
static bool sleep_for_events(struct connection *c, struct queue *q, int64_t time)
{
    struct waiter me = { .queue = q };
    struct pollfd polled[2] = { { .fd = q->wakeup, .events = POLLIN }, { .fd = c->fd, .events = POLLIN } };
    int ready;

    me.polls = may_read(c, NULL);
    if (me.polls) {
        c->reader = &me;
        if (flush(c))
            polled[1].events |= POLLOUT;
    }
    link_waiter(c, &me);
    pthread_mutex_unlock(&c->lock);
    ready = poll_for(polled, me.polls ? 2 : 1, time);
    pthread_mutex_lock(&c->lock);
    unlink_waiter(c, &me);
    return ready > 0;
}

enum outcome queue_next(struct connection *c, struct queue *q, int64_t deadline, struct event **event)
{
    enum outcome outcome = DONE;
    bool slept = true;

    connection_lock(c);
    for (;;) {
        *event = take_event(c, q);
        if (*event != NULL)
            break;
        if (c->state != OPEN) {
            outcome = OVER;
            break;
        }
        if (q->woken) {
            q->woken = false;
            outcome = WOKEN;
            break;
        }
        if (deadline >= 0 && xsffi_now() >= deadline) {
            outcome = TIMED_OUT;
            break;
        }
        if (!slept) {
            outcome = SIGNAL;
            break;
        }
        queue_settle(c, q);
        slept = sleep_for_events(c, q, one_wait(c, deadline));
    }
    queue_settle(c, q);
    pass_on(c);
    pthread_mutex_unlock(&c->lock);
    return outcome;
}
