/* A connection to the daemon's socket, shared by threads: its state and operations. This code is independent of Python;
 * module.c wraps it in Python objects. xsffi/backends/wire/connection.py does the same in pure Python.
 *
 * One mutex guards all state; the socket is read and written, without blocking, with it held. It is never held while a
 * thread sleeps, or Python code runs. A thread that sleeps for a reply or an event is a waiter; one of the waiters, the
 * reader, sleeps until the socket is readable, receives for all, and wakes those whose data has arrived.
 */

#ifndef XSFFI_CONNECTION_H
#define XSFFI_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADER_SIZE 16
#define REPLY_MAX (16u << 20) /* see xsffi/protocol/wire.py */
#define PREFIX_MAX 32
#define TEXT_MAX 200

enum message_type {
    DIRECTORY = 1,
    READ = 2,
    GET_PERMS = 3,
    WATCH = 4,
    UNWATCH = 5,
    TRANSACTION_START = 6,
    TRANSACTION_END = 7,
    WATCH_EVENT = 15,
};

enum state { OPEN, CLOSED, FORKED, LOST };

/* The outcome of a wait. */
enum outcome {
    DONE,      /* what was waited for has arrived */
    OVER,      /* the connection has ended: see its state */
    TIMED_OUT, /* the time was up */
    WOKEN,     /* by queue_wake */
    SIGNAL,    /* a signal may have arrived: let Python run its handlers, and wait again */
    NO_MEMORY, /* nothing was done */
    FAILED,    /* nothing was done; the reason is in errno */
};

struct reply {
    bool is_there;
    uint32_t type;
    uint32_t length;
    char *payload; /* allocated, unless empty */
};

/* A reply whose id is not one of ours. */
struct suspect {
    struct suspect *next;
    uint32_t type;
    uint32_t length;
    char payload[];
};

struct waiter;

/* Requests in flight whose replies are waited for together; their ids are consecutive. Owned by its creator until it is
 * abandoned. */
struct exchange {
    struct exchange *next; /* in the list of incomplete exchanges, in the order of sending */
    uint32_t first;
    uint32_t count;
    uint32_t missing;
    bool abandoned;        /* nobody waits: freed once complete */
    bool is_linked;
    struct waiter *waiter; /* who sleeps for it */
    struct reply *replies;
    uint32_t *types;
    char *out;
    size_t size;
    size_t sent;
};

struct event {
    struct event *next;
    uint32_t path_length;
    uint32_t token_length;
    char text[]; /* the path, followed by the token */
};

/* The events of the watches whose token starts with the prefix. */
struct queue {
    struct queue *next;
    struct event *head, **tail;
    size_t count; /* pending events, and the most allowed; 0: no limit */
    size_t limit;
    char prefix[PREFIX_MAX];
    size_t prefix_length;
    int wakeup;  /* an eventfd, readable while there are events, or a wait is to end */
    int epoll;   /* readable while the wakeup or the socket is; created on first use, -1 until then */
    bool is_set; /* whether the wakeup is set */
    bool woken;
    bool is_open;
};

struct waiter {
    struct waiter *next;
    struct exchange *exchange; /* what it sleeps for, either this or */
    struct queue *queue;
    uint32_t word;             /* the futex */
    bool polls;                /* it sleeps on the socket */
};

/* Whether to spin for a reply: a daemon on another processor answers in less time than it takes to put a thread to sleep
 * and wake it, unless that processor is busy. Times are in nanoseconds. */
struct spin {
    int64_t limit;   /* 0: never */
    int64_t trip[2]; /* smoothed round-trip times without and with spinning */
    uint32_t waits;
};

struct connection {
    pthread_mutex_t lock;
    int fd;
    int wakeup;              /* an eventfd that ends the sleep of the reader */
    unsigned forks;          /* the number of forks when it was created */
    enum state state;
    int error;               /* if lost: the errno, or 0 */
    char text[TEXT_MAX];     /* or the protocol error of the other end */
    bool to_tell;            /* whether that has not been reported yet */
    int users;               /* threads inside: the last one to leave closes the descriptors */
    struct waiter *waiters;
    struct waiter *reader;   /* the waiter that sleeps on the socket for all */
    struct waiter *awake;    /* the waiter that is receiving: it need not be woken */
    struct exchange *exchanges;
    struct queue *queues;
    uint64_t last_number;    /* of tokens */
    unsigned strange_events;
    uint32_t last_id;
    int ids_return;          /* whether replies carry the ids of their requests; -1: not known yet */
    struct suspect *suspects; /* replies with unknown ids that arrived before any with one of ours */
    unsigned suspect_count;
    char *buffer;
    size_t have, capacity;
    int64_t longest; /* sleep at a time, in nanoseconds: see one_wait() in xsffi/backends/wire/polling.py */
    struct spin spin;
    uint64_t received; /* bytes in total */
    int64_t pace;    /* how long to nap for each outstanding reply, in nanoseconds */
};

/* Deadlines are times of CLOCK_MONOTONIC in nanoseconds; negative means none. */
int64_t xsffi_now(void);

/* Call once, before anything else. */
void connection_setup(void);

/* 0, or an errno. `fd`: connected and non-blocking; the connection duplicates it. */
int connection_init(struct connection *c, int fd, int64_t spin_limit, int64_t longest);
/* Frees everything; no thread may be using it. */
void connection_destroy(struct connection *c);
void connection_close(struct connection *c);
void connection_fork(struct connection *c);
/* Unlock with pthread_mutex_unlock. */
void connection_lock(struct connection *c);

/* Between these two calls the descriptors stay open. */
void connection_enter(struct connection *c);
void connection_leave(struct connection *c);

/* An exchange for `count` requests, whose messages are stored one after the other. NULL if memory runs out. */
struct exchange *exchange_new(uint32_t count, size_t payloads);
/* Adds the next message to it. */
void exchange_add(struct exchange *x, uint32_t place, uint32_t type, uint32_t tx_id, const char *payload, size_t length);
void exchange_free(struct exchange *x);

/* Sends what can be sent without blocking. OVER or DONE. */
enum outcome connection_send(struct connection *c, struct exchange *x);
/* Sends a request whose reply is ignored; if it cannot be sent at once, it goes with the next one. */
void connection_post(struct connection *c, uint32_t type, uint32_t tx_id, const char *payload, size_t length);
/* Waits for the replies: DONE, OVER, TIMED_OUT, SIGNAL. */
enum outcome connection_wait(struct connection *c, struct exchange *x, int64_t deadline);
/* Ignores the outstanding replies; the connection takes ownership. */
void connection_abandon(struct connection *c, struct exchange *x);

struct queue *connection_queue(struct connection *c, const char *prefix, size_t length, size_t limit,
                               enum outcome *outcome);
void queue_close(struct connection *c, struct queue *q);
void queue_free(struct connection *c, struct queue *q);
/* The next event, to be freed by the caller: DONE, OVER, TIMED_OUT, WOKEN, SIGNAL. */
enum outcome queue_next(struct connection *c, struct queue *q, int64_t deadline, struct event **event);
void queue_put_back(struct connection *c, struct queue *q, struct event *event);
void queue_drop(struct connection *c, struct queue *q, const char *token, size_t length);
void queue_wake(struct connection *c, struct queue *q);
/* FAILED, OVER, or DONE: `*fd` is readable while queue_next would return at once. */
enum outcome queue_fileno(struct connection *c, struct queue *q, int *fd);
/* A number that no token of the connection has had. */
uint64_t connection_number(struct connection *c);

/* Shared between the source files; the lock must be held. */
/* Puts an event into its queue. */
void hand_on_event(struct connection *c, const char *payload, size_t length);
void clear_queue(struct queue *q);
/* Closes it unless it is negative, and makes it negative. */
void close_descriptor(int *fd);
bool receive(struct connection *c);
bool flush(struct connection *c); /* whether something is left to send */
void accept_suspects(struct connection *c);
void lose(struct connection *c, int error, const char *text);
void leave(struct connection *c);
void queue_settle(struct connection *c, struct queue *q);
void wake(struct connection *c, struct waiter *w);
void set_wakeup(int fd);
void clear_wakeup(int fd);

#endif
