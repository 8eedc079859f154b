/* The queues of a connection, and the dispatch of events to them. */

#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define STRANGE_EVENTS_MAX 1000

void clear_queue(struct queue *q)
{
    while (q->head != NULL) {
        struct event *event = q->head;

        q->head = event->next;
        free(event);
    }
    q->tail = &q->head;
    q->count = 0;
}

/* The queue of a token, by its prefix; NULL if there is none, with `*strange` if the token was never one of ours. */
static struct queue *queue_of(struct connection *c, const char *token, size_t length, bool *strange)
{
    size_t prefix = length;
    uint64_t number = 0;

    while (prefix > 0 && token[prefix - 1] != ':')
        prefix--;
    *strange = length == prefix || length - prefix > 15 || token[prefix] == '0';
    for (size_t i = prefix; i < length && !*strange; i++) {
        char digit = token[i];

        *strange = !((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f'));
        number = number * 16 + (uint64_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    }
    *strange = *strange || number > c->last_number;
    if (!*strange)
        for (struct queue *q = c->queues; q != NULL; q = q->next)
            if (q->is_open && q->prefix_length == prefix && memcmp(q->prefix, token, prefix) == 0)
                return q;
    return NULL;
}

static void notify(struct queue *q)
{
    if (!q->is_set) {
        q->is_set = true;
        set_wakeup(q->wakeup);
    }
}

static void put(struct connection *c, struct queue *q, const char *path, size_t path_length, const char *token,
                size_t token_length)
{
    struct event *event = malloc(sizeof *event + path_length + token_length);

    if (event == NULL) {
        lose(c, ENOMEM, NULL);
        return;
    }
    event->next = NULL;
    event->path_length = (uint32_t)path_length;
    event->token_length = (uint32_t)token_length;
    memcpy(event->text, path, path_length);
    memcpy(event->text + path_length, token, token_length);
    *q->tail = event;
    q->tail = &event->next;
    q->count++;
    notify(q);
}

void hand_on_event(struct connection *c, const char *payload, size_t length)
{
    const size_t path = strnlen(payload, length);
    const char *token = path < length ? payload + path + 1 : payload + length;
    const size_t size = strnlen(token, (size_t)(payload + length - token));
    struct queue *q;
    bool strange;

    q = queue_of(c, token, size, &strange);
    if (strange && ++c->strange_events >= STRANGE_EVENTS_MAX) {
        char text[TEXT_MAX];

        snprintf(text, sizeof text, "received an event of an unknown watch: its token is '%.*s'",
                 (int)(size < 80 ? size : 80), token);
        lose(c, 0, text);
    }
    if (q == NULL)
        return;
    if (q->limit > 0 && q->count >= q->limit) {
        clear_queue(q);
        put(c, q, "", 0, "", 0); /* marks the overflow */
    }
    put(c, q, payload, path, token, size);
}

/* Makes the wakeup match the state of the queue. */
void queue_settle(struct connection *c, struct queue *q)
{
    bool ready = q->head != NULL || q->woken || c->state != OPEN;

    if (q->is_set == ready)
        return;
    q->is_set = ready;
    if (ready)
        set_wakeup(q->wakeup);
    else
        clear_wakeup(q->wakeup);
}

struct queue *connection_queue(struct connection *c, const char *prefix, size_t length, size_t limit,
                               enum outcome *outcome)
{
    struct queue *q = calloc(1, sizeof *q);

    *outcome = NO_MEMORY;
    if (q == NULL)
        return NULL;
    memcpy(q->prefix, prefix, length);
    q->prefix_length = length;
    q->limit = limit;
    q->tail = &q->head;
    q->epoll = -1;
    q->is_open = true;
    q->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->wakeup < 0) {
        *outcome = FAILED;
        free(q);
        return NULL;
    }
    connection_lock(c);
    if (c->state == OPEN) {
        *outcome = DONE;
        for (struct queue *other = c->queues; other != NULL; other = other->next)
            if (other->prefix_length == length && memcmp(other->prefix, prefix, length) == 0)
                other->is_open = false; /* the newer one gets the events */
        q->next = c->queues;
        c->queues = q;
    } else {
        *outcome = OVER;
        close_descriptor(&q->wakeup);
        free(q);
        q = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    return q;
}

void queue_close(struct connection *c, struct queue *q)
{
    connection_lock(c);
    q->is_open = false;
    clear_queue(q);
    queue_settle(c, q);
    pthread_mutex_unlock(&c->lock);
}

/* The owner no longer uses the queue. */
void queue_free(struct connection *c, struct queue *q)
{
    struct queue **at = &c->queues;

    connection_lock(c);
    while (*at != NULL && *at != q)
        at = &(*at)->next;
    if (*at != NULL)
        *at = q->next;
    pthread_mutex_unlock(&c->lock);
    close_descriptor(&q->wakeup);
    close_descriptor(&q->epoll);
    clear_queue(q);
    free(q);
}

void queue_put_back(struct connection *c, struct queue *q, struct event *event)
{
    connection_lock(c);
    event->next = q->head;
    if (q->head == NULL)
        q->tail = &event->next;
    q->head = event;
    q->count++;
    notify(q);
    pthread_mutex_unlock(&c->lock);
}

void queue_drop(struct connection *c, struct queue *q, const char *token, size_t length)
{
    connection_lock(c);
    for (struct event **at = &q->head; *at != NULL;) {
        struct event *event = *at;

        if (event->token_length == length && memcmp(event->text + event->path_length, token, length) == 0) {
            *at = event->next;
            if (q->tail == &event->next)
                q->tail = at;
            q->count--;
            free(event);
        } else {
            at = &event->next;
        }
    }
    queue_settle(c, q);
    pthread_mutex_unlock(&c->lock);
}

void queue_wake(struct connection *c, struct queue *q)
{
    connection_lock(c);
    q->woken = true;
    notify(q);
    pthread_mutex_unlock(&c->lock);
}

enum outcome queue_fileno(struct connection *c, struct queue *q, int *fd)
{
    enum outcome outcome = DONE;

    connection_lock(c);
    if (c->state == CLOSED || c->state == FORKED) {
        outcome = OVER;
    } else if (q->epoll < 0) {
        struct epoll_event readable = { .events = EPOLLIN };
        int epoll = epoll_create1(EPOLL_CLOEXEC);

        if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &readable) < 0 ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, q->wakeup, &readable) < 0) {
            int error = errno;

            close_descriptor(&epoll);
            errno = error;
            outcome = FAILED;
        } else {
            q->epoll = epoll;
        }
    }
    *fd = q->epoll;
    pthread_mutex_unlock(&c->lock);
    return outcome;
}

uint64_t connection_number(struct connection *c)
{
    uint64_t number;

    connection_lock(c);
    number = ++c->last_number;
    pthread_mutex_unlock(&c->lock);
    return number;
}
