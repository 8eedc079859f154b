/* races SECONDS SEED: threads share connections in C, without Python and so without the GIL, to expose data races and lost
 * wakeups. Each request must get its own reply, unless the connection is over; no thread may sleep for ever. Links all of
 * xsffi/_native/wire except module.c. */

#define _GNU_SOURCE

#include "connection.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITE 11
#define REQUESTERS 4
#define TAKERS 2
#define HELD 8
#define LIMIT 4 /* events of a queue that has a limit */
#define SECOND INT64_C(1000000000)
#define HANGS 60 /* seconds */

struct round {
    struct connection c;
    struct queue *queues[TAKERS];
    int peer;
    unsigned seed;
};

struct task {
    struct round *round;
    unsigned number;
    unsigned seed;
};

static void *allocate(size_t size)
{
    void *block = malloc(size);

    if (block == NULL)
        abort();
    return block;
}

static unsigned pick(unsigned *seed, unsigned count)
{
    return (unsigned)rand_r(seed) % count;
}

/* The daemon's end. */

struct message {
    uint32_t header[4];
    char payload[128];
};

static bool receive_all(int fd, void *into, size_t size)
{
    return size == 0 || recv(fd, into, size, MSG_WAITALL) == (ssize_t)size;
}

static void send_message(int fd, uint32_t type, uint32_t id, const char *payload, uint32_t length)
{
    struct message message = { .header = { type, id, 0, length } };

    memcpy(message.payload, payload, length);
    if (send(fd, &message, sizeof message.header + length, MSG_NOSIGNAL) < 0)
        return; /* the connection is over */
}

/* Answers READ with the request's payload, and WRITE after an event of that payload; not always in order. */
static void *serve(void *argument)
{
    struct task *task = argument;
    struct message held[HELD];
    unsigned count = 0;

    for (;;) {
        struct message *message = &held[count];
        struct pollfd polled = { .fd = task->round->peer, .events = POLLIN };

        if (count == HELD || (count > 0 && poll(&polled, 1, 0) == 0)) {
            unsigned place = pick(&task->seed, count);

            message = &held[place];
            if (message->header[0] == WRITE)
                send_message(task->round->peer, WATCH_EVENT, 0, message->payload, message->header[3]);
            send_message(task->round->peer, message->header[0], message->header[1], message->payload,
                         message->header[3]);
            *message = held[--count];
            continue;
        }
        if (!receive_all(task->round->peer, message->header, sizeof message->header) ||
            message->header[3] > sizeof message->payload ||
            !receive_all(task->round->peer, message->payload, message->header[3]))
            return NULL;
        count++;
    }
}

/* The client's end. */

/* Waits as module.c does. */
static enum outcome wait_for(struct connection *c, struct exchange *x, int64_t deadline)
{
    enum outcome outcome = connection_send(c, x);

    while (outcome == DONE) {
        outcome = connection_wait(c, x, deadline);
        if (outcome != SIGNAL)
            break;
        outcome = DONE;
    }
    return outcome;
}

static bool request(struct task *task, unsigned step)
{
    struct connection *c = &task->round->c;
    const uint32_t count = pick(&task->seed, 3) ? 1 : pick(&task->seed, 40);
    const int64_t deadline = pick(&task->seed, 4) ? -1 : xsffi_now() + pick(&task->seed, 2000) * 1000;
    struct exchange *x = exchange_new(count, count * 32);
    enum outcome outcome;
    char payload[32];

    assert(x != NULL);
    for (uint32_t i = 0; i < count; i++) {
        int length = snprintf(payload, sizeof payload, "/%u/%u/%u", task->number, step, i);

        exchange_add(x, i, READ, 0, payload, (size_t)length + 1);
    }
    connection_enter(c);
    outcome = wait_for(c, x, deadline);
    for (uint32_t i = 0; i < count && outcome == DONE; i++) {
        int length = snprintf(payload, sizeof payload, "/%u/%u/%u", task->number, step, i);

        assert(x->replies[i].is_there && x->replies[i].type == READ && x->replies[i].length == (uint32_t)length + 1);
        assert(memcmp(x->replies[i].payload, payload, (size_t)length + 1) == 0);
    }
    if (outcome == DONE)
        exchange_free(x);
    else
        connection_abandon(c, x);
    connection_leave(c);
    assert(outcome == DONE || outcome == OVER || (outcome == TIMED_OUT && deadline >= 0));
    return outcome != OVER;
}

static void send_and_leave(struct task *task, uint32_t type, const char *payload, size_t length, bool forget)
{
    struct connection *c = &task->round->c;
    struct exchange *x = exchange_new(1, length);

    assert(x != NULL);
    exchange_add(x, 0, type, 0, payload, length);
    connection_enter(c);
    if (forget) {
        connection_send(c, x);
        connection_abandon(c, x);
    } else if (wait_for(c, x, -1) == DONE) {
        exchange_free(x);
    } else {
        connection_abandon(c, x);
    }
    connection_leave(c);
}

static void *make_requests(void *argument)
{
    struct task *task = argument;

    for (unsigned step = 0;; step++) {
        char text[64];
        int length;

        switch (pick(&task->seed, 6)) {
        case 0: /* a path, and a token of one of the queues */
            length = snprintf(text, sizeof text, "/event%c%u:1", 0, pick(&task->seed, TAKERS)) + 1;
            send_and_leave(task, WRITE, text, (size_t)length, false);
            break;
        case 1:
            send_and_leave(task, WATCH, "/a\0" "0:1", 7, true);
            break;
        case 2:
            send_and_leave(task, TRANSACTION_START, "7", 2, true);
            break;
        default:
            if (!request(task, step))
                return NULL;
        }
    }
}

static void *take_events(void *argument)
{
    struct task *task = argument;
    struct connection *c = &task->round->c;
    struct queue *q = task->round->queues[task->number];

    for (;;) {
        const int64_t deadline = pick(&task->seed, 2) ? -1 : xsffi_now() + pick(&task->seed, 500) * 1000;
        struct event *event = NULL;
        enum outcome outcome;
        int fd;

        connection_enter(c);
        outcome = queue_next(c, q, deadline, &event);
        if (outcome == DONE) {
            if (event->path_length == 0)
                assert(q->limit > 0); /* events were dropped */
            else
                assert(event->path_length == 6 && memcmp(event->text, "/event", 6) == 0);
            if (pick(&task->seed, 4) == 0)
                queue_put_back(c, q, event);
            else
                free(event);
            queue_fileno(c, q, &fd);
            if (pick(&task->seed, 50) == 0)
                queue_drop(c, q, "0:1", 3);
        }
        connection_leave(c);
        if (outcome == OVER)
            return NULL;
        assert(outcome != TIMED_OUT || deadline >= 0);
    }
}

static void play(unsigned seed)
{
    struct round *round = allocate(sizeof *round);
    pthread_t threads[REQUESTERS + 2 * TAKERS + 1];
    struct task tasks[REQUESTERS + 2 * TAKERS + 1];
    unsigned count = 0;
    int ends[2];

    alarm(HANGS);
    round->seed = seed;
    assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    round->peer = ends[1];
    /* So long that a lost wakeup is noticed. */
    assert(connection_init(&round->c, ends[0], pick(&seed, 2) ? 20000 : 0, 3600 * SECOND) == 0);
    close(ends[0]);
    assert(connection_number(&round->c) == 1);
    for (unsigned i = 0; i < TAKERS; i++) {
        char prefix[8];
        enum outcome outcome;
        int length = snprintf(prefix, sizeof prefix, "%u:", i);

        round->queues[i] = connection_queue(&round->c, prefix, (size_t)length, pick(&seed, 2) ? LIMIT : 0, &outcome);
        assert(round->queues[i] != NULL);
    }
    for (; count < REQUESTERS + 2 * TAKERS + 1; count++) {
        void *(*work)(void *) = count == 0 ? serve : count <= REQUESTERS ? make_requests : take_events;

        tasks[count].round = round;
        tasks[count].number = work == take_events ? count % TAKERS : count;
        tasks[count].seed = seed + count;
        assert(pthread_create(&threads[count], NULL, work, &tasks[count]) == 0);
    }
    for (unsigned i = pick(&seed, 60); i > 0; i--) {
        enum outcome outcome;
        struct queue *q = connection_queue(&round->c, "own:", 4, 0, &outcome);

        queue_wake(&round->c, round->queues[pick(&seed, TAKERS)]);
        usleep(pick(&seed, 500));
        assert(q != NULL);
        queue_close(&round->c, q);
        queue_free(&round->c, q);
    }
    if (pick(&seed, 2))
        shutdown(round->peer, SHUT_RDWR); /* the daemon dies */
    else
        connection_close(&round->c);
    for (unsigned i = 1; i < count; i++)
        pthread_join(threads[i], NULL);
    connection_close(&round->c);
    pthread_join(threads[0], NULL);
    for (unsigned i = 0; i < TAKERS; i++)
        queue_free(&round->c, round->queues[i]);
    connection_destroy(&round->c);
    close(round->peer);
    free(round);
}

int main(int argc, char **argv)
{
    const int64_t end = xsffi_now() + (argc > 1 ? atoi(argv[1]) : 2) * SECOND;
    unsigned seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    unsigned rounds = 0;

    connection_setup();
    for (; xsffi_now() < end; rounds++)
        play(seed + 1000 * rounds);
    printf("%u connections\n", rounds);
    return 0;
}
