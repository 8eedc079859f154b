/* The state of a connection: ids, replies, and the bytes in both directions. */

#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_SIZE 131072
/* The first id: kernels number requests of their own from 1, and do not reach ours for a long time. */
#define FIRST_ID 0x10000000u
#define ROUNDS_MAX 16

/* An epoll silently drops descriptors that are closed, though somebody may still be polling it. This descriptor, open for
 * the life of the process and always readable, replaces them; -1 until connection_setup. */
static int ever_ready = -1;

/* The number of forks that led to this process. Python's fork hooks run late: a finalizer may use a connection earlier,
 * whose lock a thread of the parent may have held. */
static unsigned forks;

static void count_fork(void)
{
    forks++;
}

void connection_setup(void)
{
    static bool is_done;

    if (is_done)
        return;
    is_done = true;
    ever_ready = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_atfork(NULL, NULL, count_fork);
}

void connection_lock(struct connection *c)
{
    if (c->forks != forks)
        connection_fork(c);
    pthread_mutex_lock(&c->lock);
}

void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_descriptors(struct connection *c)
{
    close_descriptor(&c->fd);
    close_descriptor(&c->wakeup);
    for (struct queue *q = c->queues; q != NULL; q = q->next) {
        close_descriptor(&q->wakeup);
        close_descriptor(&q->epoll);
    }
}

int connection_init(struct connection *c, int fd, int64_t spin_limit, int64_t longest)
{
    memset(c, 0, sizeof *c);
    c->fd = -1;
    c->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wakeup < 0)
        return errno;
    c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    c->buffer = malloc(BUFFER_SIZE);
    if (c->fd < 0 || c->buffer == NULL) {
        int error = c->fd < 0 ? errno : ENOMEM;

        close_descriptors(c);
        free(c->buffer);
        return error;
    }
    c->capacity = BUFFER_SIZE;
    c->forks = forks;
    c->last_id = FIRST_ID - 1;
    c->ids_return = -1;
    c->spin.limit = spin_limit;
    c->longest = longest;
    c->pace = 1500;
    pthread_mutex_init(&c->lock, NULL);
    return 0;
}

static void free_suspects(struct connection *c)
{
    while (c->suspects != NULL) {
        struct suspect *suspect = c->suspects;

        c->suspects = suspect->next;
        free(suspect);
    }
    c->suspect_count = 0;
}

void connection_destroy(struct connection *c)
{
    if (c->forks != forks)
        connection_fork(c);
    close_descriptors(c);
    while (c->exchanges != NULL) {
        struct exchange *x = c->exchanges;

        c->exchanges = x->next;
        exchange_free(x);
    }
    free_suspects(c);
    free(c->buffer);
    pthread_mutex_destroy(&c->lock);
}

/* Entry and exit. */

void connection_enter(struct connection *c)
{
    connection_lock(c);
    c->users++;
    pthread_mutex_unlock(&c->lock);
}

void leave(struct connection *c)
{
    if (--c->users <= 0 && c->state == CLOSED)
        close_descriptors(c);
}

void connection_leave(struct connection *c)
{
    connection_lock(c);
    leave(c);
    pthread_mutex_unlock(&c->lock);
}

void set_wakeup(int fd)
{
    const uint64_t one = 1;

    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return; /* full: already readable */
}

void clear_wakeup(int fd)
{
    uint64_t count;

    if (read(fd, &count, sizeof count) < 0)
        return; /* it was not set */
}

/* Wakes all waiters, since the connection has ended; its state says so already. */
static void end(struct connection *c)
{
    if (c->fd >= 0)
        shutdown(c->fd, SHUT_RDWR);
    for (struct waiter *w = c->waiters; w != NULL; w = w->next)
        if (w->exchange != NULL)
            wake(c, w);
    for (struct queue *q = c->queues; q != NULL; q = q->next) {
        q->is_set = true;
        set_wakeup(q->wakeup);
    }
}

/* `text`: the protocol error of the other end, or NULL: `error` is the kernel's errno, 0 if the other end closed it. */
void lose(struct connection *c, int error, const char *text)
{
    if (c->state != OPEN)
        return;
    c->state = LOST;
    c->error = error;
    if (text != NULL) {
        snprintf(c->text, sizeof c->text, "%s", text);
        c->to_tell = true;
    }
    end(c);
}

void connection_close(struct connection *c)
{
    connection_lock(c);
    if (c->state == OPEN || c->state == LOST) {
        c->state = CLOSED;
        for (struct queue *q = c->queues; q != NULL; q = q->next) {
            struct epoll_event readable = { .events = EPOLLIN };

            clear_queue(q);
            if (q->epoll >= 0)
                epoll_ctl(q->epoll, EPOLL_CTL_ADD, ever_ready, &readable);
        }
        end(c);
        if (c->users <= 0)
            close_descriptors(c);
    }
    pthread_mutex_unlock(&c->lock);
}

/* In the child: other threads of the parent may have held the lock, and been in the middle of anything. So what they were
 * using is leaked. */
void connection_fork(struct connection *c)
{
    pthread_mutex_init(&c->lock, NULL);
    c->forks = forks;
    c->state = FORKED;
    c->waiters = c->reader = NULL;
    c->exchanges = NULL;
    c->suspects = NULL;
    c->buffer = NULL;
    close_descriptors(c);
    for (struct queue *q = c->queues; q != NULL; q = q->next) {
        q->head = NULL;
        q->tail = &q->head;
    }
}

/* Requests. */

struct exchange *exchange_new(uint32_t count, size_t payloads)
{
    const size_t size = payloads + (size_t)count * HEADER_SIZE;
    struct exchange *x = calloc(1, sizeof *x + count * (sizeof *x->replies + sizeof *x->types) + size);

    if (x == NULL)
        return NULL;
    x->count = x->missing = count;
    x->replies = (struct reply *)(x + 1);
    x->types = (uint32_t *)(x->replies + count);
    x->out = (char *)(x->types + count);
    return x;
}

void exchange_add(struct exchange *x, uint32_t place, uint32_t type, uint32_t tx_id, const char *payload, size_t length)
{
    const uint32_t header[4] = { type, place, tx_id, (uint32_t)length }; /* connection_send turns the place into an id */

    x->types[place] = type;
    memcpy(x->out + x->size, header, sizeof header);
    memcpy(x->out + x->size + sizeof header, payload, length);
    x->size += sizeof header + length;
}

void exchange_free(struct exchange *x)
{
    for (uint32_t i = 0; i < x->count; i++)
        free(x->replies[i].payload);
    free(x);
}

static void unlink_exchange(struct connection *c, struct exchange *x)
{
    struct exchange **at = &c->exchanges;

    while (*at != NULL && *at != x)
        at = &(*at)->next;
    if (*at != NULL)
        *at = x->next;
    x->is_linked = false;
}

/* Assigns ids to the messages, and queues them last. */
static void enqueue(struct connection *c, struct exchange *x)
{
    struct exchange **at = &c->exchanges;

    if (c->last_id > UINT32_MAX - x->count)
        c->last_id = FIRST_ID - 1;
    x->first = c->last_id + 1;
    c->last_id += x->count;
    for (size_t offset = 0; offset < x->size;) {
        uint32_t header[4];

        memcpy(header, x->out + offset, sizeof header);
        header[1] += x->first;
        memcpy(x->out + offset, header, sizeof header);
        offset += sizeof header + header[3];
    }
    while (*at != NULL)
        at = &(*at)->next;
    *at = x;
    x->next = NULL;
    x->is_linked = true;
}

bool flush(struct connection *c)
{
    for (struct exchange *x = c->exchanges; x != NULL && c->state == OPEN; x = x->next) {
        while (x->sent < x->size) {
            /* EPIPE, not SIGPIPE, even in a program where that has its default action. */
            ssize_t n = send(c->fd, x->out + x->sent, x->size - x->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

            if (n >= 0) {
                x->sent += (size_t)n;
            } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
                return true;
            } else if (errno != EINTR) {
                int error = errno;

                while (receive(c)) /* what arrived before the end */
                    ;
                lose(c, error, NULL);
                return false;
            }
        }
    }
    return false;
}

static void send_and_forget(struct connection *c, uint32_t type, uint32_t tx_id, const char *payload, size_t length)
{
    struct exchange *x = exchange_new(1, length);

    if (x == NULL) {
        lose(c, ENOMEM, NULL);
        return;
    }
    exchange_add(x, 0, type, tx_id, payload, length);
    x->abandoned = true;
    enqueue(c, x);
}

enum outcome connection_send(struct connection *c, struct exchange *x)
{
    enum outcome outcome = OVER;

    connection_lock(c);
    if (c->state == OPEN) {
        if (x->count > 0)
            enqueue(c, x);
        if (flush(c) && c->reader != NULL)
            wake(c, c->reader); /* it must now also wait for room to send */
        outcome = DONE; /* a loss is for the waiters to find */
    }
    pthread_mutex_unlock(&c->lock);
    return outcome;
}

void connection_post(struct connection *c, uint32_t type, uint32_t tx_id, const char *payload, size_t length)
{
    connection_lock(c);
    if (c->state == OPEN) {
        send_and_forget(c, type, tx_id, payload, length);
        flush(c);
    }
    pthread_mutex_unlock(&c->lock);
}

/* The length of two strings, path and token, without the depth that may follow. */
static size_t two_strings(const char *payload, size_t length)
{
    size_t end = 0;

    for (int nuls = 0; end < length && nuls < 2; end++)
        nuls += payload[end] == '\0';
    return end;
}

void connection_abandon(struct connection *c, struct exchange *x)
{
    connection_lock(c);
    if (x->missing == 0 || c->state != OPEN || x->sent == 0 || !x->is_linked) {
        if (x->is_linked)
            unlink_exchange(c, x);
        exchange_free(x);
    } else {
        size_t offset = 0;

        x->abandoned = true;
        for (uint32_t i = 0; i < x->count; i++) {
            const char *payload = x->out + offset + HEADER_SIZE;
            uint32_t header[4];

            memcpy(header, x->out + offset, sizeof header);
            if (header[0] == WATCH)
                send_and_forget(c, UNWATCH, 0, payload, two_strings(payload, header[3]));
            offset += sizeof header + header[3];
        }
        flush(c);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Replies. */

static struct exchange *exchange_of(struct connection *c, uint32_t id)
{
    for (struct exchange *x = c->exchanges; x != NULL; x = x->next)
        if (id >= x->first && id - x->first < x->count)
            return x;
    return NULL;
}

static void take_reply(struct connection *c, struct exchange *x, uint32_t place, uint32_t type, const char *payload,
                       uint32_t length)
{
    struct reply *reply = &x->replies[place];

    if (reply->is_there)
        return;
    if (x->abandoned) {
        if (type == TRANSACTION_START && x->types[place] == TRANSACTION_START && length > 0 && length < 12) {
            char digits[12] = { 0 };

            memcpy(digits, payload, length);
            send_and_forget(c, TRANSACTION_END, (uint32_t)strtoul(digits, NULL, 10), "F", 2);
        }
    } else if (length > 0) {
        reply->payload = malloc(length);
        if (reply->payload == NULL) {
            lose(c, ENOMEM, NULL);
            return;
        }
        memcpy(reply->payload, payload, length);
    }
    reply->is_there = true;
    reply->type = type;
    reply->length = length;
    if (--x->missing > 0)
        return;
    unlink_exchange(c, x);
    free_suspects(c);
    if (x->abandoned)
        exchange_free(x);
    else if (x->waiter != NULL && x->waiter != c->awake)
        wake(c, x->waiter);
}

/* Takes the reply to the first request of this type (any type if negative) without one. */
static void take_first(struct connection *c, int64_t of_type, uint32_t type, const char *payload, uint32_t length)
{
    for (struct exchange *x = c->exchanges; x != NULL; x = x->next)
        for (uint32_t i = 0; i < x->count; i++)
            if (!x->replies[i].is_there && (of_type < 0 || x->types[i] == (uint32_t)of_type)) {
                take_reply(c, x, i, type, payload, length);
                return;
            }
}

static void suspect(struct connection *c, uint32_t type, const char *payload, uint32_t length)
{
    struct suspect *suspect, **at = &c->suspects;
    uint64_t missing = 0;

    for (struct exchange *x = c->exchanges; x != NULL; x = x->next)
        missing += x->missing;
    if (c->suspect_count >= missing)
        return;
    suspect = malloc(sizeof *suspect + length);
    if (suspect == NULL) {
        lose(c, ENOMEM, NULL);
        return;
    }
    suspect->next = NULL;
    suspect->type = type;
    suspect->length = length;
    memcpy(suspect->payload, payload, length);
    while (*at != NULL)
        at = &(*at)->next;
    *at = suspect;
    c->suspect_count++;
}

void accept_suspects(struct connection *c)
{
    struct suspect *suspects = c->suspects;

    c->ids_return = 0;
    c->suspects = NULL;
    c->suspect_count = 0;
    while (suspects != NULL) {
        struct suspect *next = suspects->next;

        take_first(c, -1, suspects->type, suspects->payload, suspects->length);
        free(suspects);
        suspects = next;
    }
}

/* Bytes. */

static void take_packet(struct connection *c, const uint32_t header[4], const char *payload)
{
    const uint32_t type = header[0], id = header[1], length = header[3];
    struct exchange *x;

    /* By type first: older kernels do not set the other fields of an event's header. */
    if (type == WATCH_EVENT) {
        hand_on_event(c, payload, length);
    } else if ((x = exchange_of(c, id)) != NULL) {
        c->ids_return = 1;
        take_reply(c, x, id - x->first, type, payload, length);
    } else if (id == 0 && (type == WATCH || type == UNWATCH)) {
        take_first(c, type, type, payload, length); /* older kernels serve these two themselves, and reply with this id */
    } else if (id >= FIRST_ID && id <= c->last_id) {
        return; /* it arrived twice, or after its wait had ended */
    } else if (c->ids_return == 0) {
        take_first(c, -1, type, payload, length);
    } else if (c->ids_return < 0) {
        suspect(c, type, payload, length);
    }
}

/* Processes every complete packet, and makes room for the next one; false if the stream is unusable. */
static bool take_packets(struct connection *c)
{
    size_t offset = 0, needed = BUFFER_SIZE;

    while (c->have - offset >= HEADER_SIZE && c->state == OPEN) {
        uint32_t header[4];

        memcpy(header, c->buffer + offset, sizeof header);
        if (header[3] > REPLY_MAX) {
            char text[TEXT_MAX];

            snprintf(text, sizeof text, "a message of type %u claims to have %u bytes, more than %u", header[0], header[3],
                     REPLY_MAX);
            lose(c, 0, text);
            return false;
        }
        if (c->have - offset - HEADER_SIZE < header[3]) {
            if (header[3] + HEADER_SIZE > BUFFER_SIZE)
                needed = header[3] + HEADER_SIZE;
            break;
        }
        take_packet(c, header, c->buffer + offset + HEADER_SIZE);
        offset += HEADER_SIZE + header[3];
    }
    if (offset > 0) {
        c->have -= offset;
        memmove(c->buffer, c->buffer + offset, c->have);
    }
    if (needed != c->capacity && c->have <= needed) {
        char *buffer = realloc(c->buffer, needed);

        if (buffer != NULL) {
            c->buffer = buffer;
            c->capacity = needed;
        } else if (needed > c->capacity) {
            lose(c, ENOMEM, NULL);
            return false;
        }
    }
    return c->state == OPEN;
}

/* Receives and processes; whether there may be more, since a peer that never stops sending must not keep the lock. */
bool receive(struct connection *c)
{
    for (int round = 0; round < ROUNDS_MAX && c->state == OPEN; round++) {
        ssize_t n = recv(c->fd, c->buffer + c->have, c->capacity - c->have, MSG_DONTWAIT);

        if (n > 0) {
            const bool is_all = (size_t)n < c->capacity - c->have;

            c->have += (size_t)n;
            c->received += (uint64_t)n;
            if (!take_packets(c) || is_all)
                return false; /* later data is left for the next call */
        } else if (n == 0) {
            lose(c, 0, NULL);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return false;
        } else if (errno != EINTR) {
            lose(c, errno, NULL);
        }
    }
    return c->state == OPEN;
}
