/* A connection to the daemon's socket that threads share: its state, and what can be done with it. Nothing here knows of
 * Python; module.c makes Python objects of it. xsffi/backends/wire/connection.py does the same in plain Python.
 *
 * One mutex guards all of the state, and the socket is read and written with it held, without blocking. It is never held
 * while a thread sleeps, nor while anything of Python's is called. Who sleeps for a reply is a waiter; one of the waiters,
 * the reader, sleeps until the socket has something, takes it in for all, and wakes those that it is for.
 */

#ifndef XSFFI_CONNECTION_H
#define XSFFI_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADER_SIZE 16
#define REPLY_MAX (16u << 20) /* xsffi/protocol/wire.py says why */
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

/* What a wait came to. */
enum outcome {
    DONE,      /* what was waited for is there */
    OVER,      /* the connection is: its state says how */
    TIMED_OUT, /* the time was up */
    WOKEN,     /* queue_wake was called */
    SIGNAL,    /* a signal came, perhaps: let Python run its handlers, and wait again */
    NO_MEMORY, /* nothing was done */
    FAILED,    /* nothing was done: errno says why */
};

struct reply {
    bool is_there;
    uint32_t type;
    uint32_t length;
    char *payload; /* allocated, unless empty */
};

/* A reply whose id is none of ours. */
struct suspect {
    struct suspect *next;
    uint32_t type;
    uint32_t length;
    char payload[];
};

struct waiter;

/* Requests on their way whose replies are waited for together; their ids are in a row. It belongs to whoever started it,
 * until it is abandoned. */
struct exchange {
    struct exchange *next; /* of those that miss replies, in the order of sending */
    uint32_t first;
    uint32_t count;
    uint32_t missing;
    bool abandoned;        /* nobody waits: it is freed once nothing is missing */
    bool is_linked;
    struct waiter *waiter; /* who sleeps for it now */
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
    char text[]; /* the path, and behind it the token */
};

/* The events of those watches whose token has the prefix. */
struct queue {
    struct queue *next;
    struct event *head, **tail;
    size_t count; /* of the events here, and the most that there may be; 0: any number */
    size_t limit;
    char prefix[PREFIX_MAX];
    size_t prefix_length;
    int wakeup;  /* an eventfd, readable while there are events, or a wait is to end */
    int epoll;   /* readable while the wakeup or the socket is; -1 until wanted */
    bool is_set; /* the wakeup is */
    bool woken;
    bool is_open;
};

struct waiter {
    struct waiter *next;
    struct exchange *exchange; /* what it sleeps for, or */
    struct queue *queue;
    uint32_t word;             /* what a futex sleeps on */
    bool polls;                /* it sleeps on the socket */
};

/* Whether to spin for a reply: a daemon on another processor answers in less time than it takes to put a thread to sleep
 * and to wake it, unless that processor has other work. Times are nanoseconds. */
struct spin {
    int64_t limit;   /* 0: never */
    int64_t trip[2]; /* what the last answers took, smoothed, that were not spun for, and that were */
    uint32_t waits;
};

struct connection {
    pthread_mutex_t lock;
    int fd;
    int wakeup;              /* an eventfd that ends the sleep of the reader */
    unsigned forks;          /* those that led to the process which it is of */
    enum state state;
    int error;               /* where it is lost: the errno, or 0 */
    char text[TEXT_MAX];     /* or what the other end did wrong */
    bool to_tell;            /* that nobody was told of yet */
    int users;               /* threads inside: the last one out closes the descriptors */
    struct waiter *waiters;
    struct waiter *reader;   /* the one of them that sleeps on the socket for all */
    struct waiter *awake;    /* the one that is taking in what came: it need not be woken */
    struct exchange *exchanges;
    struct queue *queues;
    uint64_t last_number;    /* of tokens */
    unsigned strange_events;
    uint32_t last_id;
    int ids_return;          /* whether replies bear the ids of their requests; -1: not yet known */
    struct suspect *suspects; /* replies whose ids are none of ours, before any whose id is */
    unsigned suspect_count;
    char *buffer;
    size_t have, capacity;
    int64_t longest; /* sleep in one go, in nanoseconds: one_wait() in xsffi/backends/wire/polling.py says why */
    struct spin spin;
    uint64_t received; /* bytes, in all */
    int64_t pace;    /* how long a nap is for each reply that is missing, in nanoseconds */
};

/* Deadlines are times of CLOCK_MONOTONIC in nanoseconds, negative where there is none. */
int64_t xsffi_now(void);

/* Once, before all others. */
void connection_setup(void);

/* 0, or an errno. `fd`: connected and non-blocking; the connection has a duplicate of its own. */
int connection_init(struct connection *c, int fd, int64_t spin_limit, int64_t longest);
/* Frees all; no thread uses it any more. */
void connection_destroy(struct connection *c);
void connection_close(struct connection *c);
void connection_fork(struct connection *c);
/* To be unlocked by pthread_mutex_unlock. */
void connection_lock(struct connection *c);

/* Between these two the descriptors stay open. */
void connection_enter(struct connection *c);
void connection_leave(struct connection *c);

/* A message for each of `count` requests; their payloads lie one behind the other. NULL where memory is short. */
struct exchange *exchange_new(uint32_t count, size_t payloads);
/* Writes the next message of it. */
void exchange_add(struct exchange *x, uint32_t place, uint32_t type, uint32_t tx_id, const char *payload, size_t length);
void exchange_free(struct exchange *x);

/* Sends what can be sent at once. OVER or DONE. */
enum outcome connection_send(struct connection *c, struct exchange *x);
/* Sends a request for whose reply nobody waits; where it cannot be sent at once, with what is sent next. */
void connection_post(struct connection *c, uint32_t type, uint32_t tx_id, const char *payload, size_t length);
/* Waits for the replies: DONE, OVER, TIMED_OUT, SIGNAL. */
enum outcome connection_wait(struct connection *c, struct exchange *x, int64_t deadline);
/* Nobody waits any more: it is the connection's from here on. */
void connection_abandon(struct connection *c, struct exchange *x);

struct queue *connection_queue(struct connection *c, const char *prefix, size_t length, size_t limit,
                               enum outcome *outcome);
void queue_close(struct connection *c, struct queue *q);
void queue_free(struct connection *c, struct queue *q);
/* The next event, which is the caller's to free: DONE, OVER, TIMED_OUT, WOKEN, SIGNAL. */
enum outcome queue_next(struct connection *c, struct queue *q, int64_t deadline, struct event **event);
void queue_put_back(struct connection *c, struct queue *q, struct event *event);
void queue_drop(struct connection *c, struct queue *q, const char *token, size_t length);
void queue_wake(struct connection *c, struct queue *q);
/* FAILED, OVER, or DONE: `*fd` is readable while queue_next would return at once. */
enum outcome queue_fileno(struct connection *c, struct queue *q, int *fd);
/* A number that no token of the connection has had. */
uint64_t connection_number(struct connection *c);

/* What the files have of each other; the lock is held. */
/* Puts an event into its queue. */
void hand_on_event(struct connection *c, const char *payload, size_t length);
void clear_queue(struct queue *q);
/* Closes it if it is not negative, which it is then. */
void close_descriptor(int *fd);
bool receive(struct connection *c);
bool flush(struct connection *c); /* whether something is left to be sent */
void accept_suspects(struct connection *c);
void lose(struct connection *c, int error, const char *text);
void leave(struct connection *c);
void queue_settle(struct connection *c, struct queue *q);
void wake(struct connection *c, struct waiter *w);
void set_wakeup(int fd);
void clear_wakeup(int fd);

#endif
