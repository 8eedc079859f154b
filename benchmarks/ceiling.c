/* The upper bound for a client: sends requests that are already encoded over the daemon's socket. And calls libxenstore from
 * C, one request at a time. Each mode prints how many seconds it took.
 *
 *   ceiling several SOCKET FILE WINDOW CONNECTIONS  the messages in FILE over this many connections, up to WINDOW in
 *                                                   flight on each; also prints its user and system time
 *   ceiling transaction SOCKET FILE WINDOW  the same in a transaction, which FILE neither starts nor ends
 *   ceiling single SOCKET FILE COUNT        the first message in FILE COUNT times, polling for its reply
 *   ceiling libxenstore LIBRARY PATH COUNT  xs_read COUNT times, at $XENSTORED_PATH
 */

#include <dlfcn.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { TRANSACTION_START = 6, TRANSACTION_END = 7, ERROR = 16, HEADER_SIZE = 16, WINDOWS = 8, CONNECTIONS_MAX = 16 };

static char replies[1 << 20];
static size_t have;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static size_t size_of(const char *message)
{
    uint32_t header[4];

    memcpy(header, message, sizeof header);
    return HEADER_SIZE + header[3];
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0)
            fail("write");
        data += n;
        size -= (size_t)n;
    }
}

/* Receives this many whole replies; the last of them stays at the start of the buffer until the next call. */
static void receive(int fd, long count, int flags)
{
    static size_t done; /* bytes at the start already processed */

    memmove(replies, replies + done, have - done);
    have -= done;
    done = 0;
    while (count > 0) {
        while (count > 0 && have - done >= HEADER_SIZE && have - done >= size_of(replies + done)) {
            uint32_t type;

            memcpy(&type, replies + done, sizeof type);
            if (type == ERROR) {
                fprintf(stderr, "the daemon answers %s\n", replies + done + HEADER_SIZE);
                exit(1);
            }
            if (--count > 0)
                done += size_of(replies + done);
        }
        if (count > 0) {
            ssize_t n;

            memmove(replies, replies + done, have - done);
            have -= done;
            done = 0;
            do
                n = recv(fd, replies + have, sizeof replies - have, flags);
            while (n < 0 && flags);
            if (n <= 0)
                fail("recv");
            have += (size_t)n;
        }
    }
    memmove(replies, replies + done, have - done);
    have -= done;
    done = size_of(replies);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (fd < 0 || connect(fd, (void *)&address, sizeof address))
        fail(path);
    return fd;
}

static char *contents(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *data;

    if (!file || fseek(file, 0, SEEK_END))
        fail(path);
    *size = (size_t)ftell(file);
    rewind(file);
    data = malloc(*size);
    if (!data || fread(data, 1, *size, file) != *size)
        fail(path);
    fclose(file);
    return data;
}

static void pipelined(int fd, char *data, size_t size, long window)
{
    char *end = data + size;
    long on_their_way = 0;

    while (data < end || on_their_way > 0) {
        while (data < end && on_their_way < WINDOWS * window) {
            char *stop = data;
            long count = 0;

            for (; stop < end && count < window; count++)
                stop += size_of(stop);
            send_all(fd, data, (size_t)(stop - data));
            data = stop;
            on_their_way += count;
        }
        long count = on_their_way < window ? on_their_way : window;
        receive(fd, count, 0);
        on_their_way -= count;
    }
}

static void in_transaction(int fd, char *data, size_t size, long window)
{
    struct {
        uint32_t header[4];
        char payload[2];
    } start = { { TRANSACTION_START, 1, 0, 1 }, "" }, end = { { TRANSACTION_END, 2, 0, 2 }, "T" };
    uint32_t id;

    send_all(fd, (char *)&start, HEADER_SIZE + 1);
    receive(fd, 1, 0);
    id = (uint32_t)atol(replies + HEADER_SIZE);
    for (size_t at = 0; at < size; at += size_of(data + at))
        memcpy(data + at + 8, &id, sizeof id);
    pipelined(fd, data, size, window);
    end.header[2] = id;
    send_all(fd, (char *)&end, HEADER_SIZE + 2);
    receive(fd, 1, 0);
}

struct connection {
    int fd;
    long on_their_way;
    size_t have;
    char replies[1 << 17];
};

static struct connection connections[CONNECTIONS_MAX];

/* Sends the next half of a window; returns what is left. */
static char *send_half(struct connection *c, char *data, const char *end, long window)
{
    char *stop = data;
    long count = 0;

    for (; stop < end && count < window / 2; count++)
        stop += size_of(stop);
    send_all(c->fd, data, (size_t)(stop - data));
    c->on_their_way += count;
    return stop;
}

static void take_replies(struct connection *c)
{
    ssize_t n = recv(c->fd, c->replies + c->have, sizeof c->replies - c->have, MSG_DONTWAIT);
    size_t done = 0;

    if (n <= 0)
        fail("recv");
    c->have += (size_t)n;
    while (c->have - done >= HEADER_SIZE && c->have - done >= size_of(c->replies + done)) {
        done += size_of(c->replies + done);
        c->on_their_way--;
    }
    c->have -= done;
    memmove(c->replies, c->replies + done, c->have);
}

static void over_several(const char *path, char *data, size_t size, long window, int count)
{
    struct pollfd polled[CONNECTIONS_MAX];
    const char *end = data + size;
    double begin;
    int busy = 1;

    for (int i = 0; i < count; i++) {
        connections[i].fd = connect_to(path);
        polled[i] = (struct pollfd){ .fd = connections[i].fd, .events = POLLIN };
    }
    begin = now();
    for (int i = 0; i < 2 * count; i++)
        data = send_half(&connections[i % count], data, end, window);
    while (busy) {
        if (poll(polled, (nfds_t)count, -1) < 0)
            fail("poll");
        busy = 0;
        for (int i = 0; i < count; i++) {
            struct connection *c = &connections[i];

            if (polled[i].revents)
                take_replies(c);
            while (data < end && c->on_their_way <= window / 2)
                data = send_half(c, data, end, window);
            busy |= c->on_their_way > 0;
        }
    }
    printf("%.9f", now() - begin);
}

static void print_processor_times(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    printf(" %.9f %.9f\n", used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6,
           used.ru_stime.tv_sec + used.ru_stime.tv_usec / 1e6);
}

static double one_by_one(const char *library, const char *path, long count)
{
    void *opened = dlopen(library, RTLD_NOW);
    void *(*xs_open)(unsigned long);
    void *(*xs_read)(void *, uint32_t, const char *, unsigned int *);
    unsigned int length;
    void *handle;
    double begin;

    if (!opened) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&xs_open = dlsym(opened, "xs_open");
    *(void **)&xs_read = dlsym(opened, "xs_read");
    handle = xs_open(0);
    if (!handle)
        fail("xs_open");
    begin = now();
    for (long i = 0; i < count; i++) {
        void *value = xs_read(handle, 0, path, &length);

        if (!value)
            fail("xs_read");
        free(value);
    }
    return now() - begin;
}

int main(int argc, char **argv)
{
    double begin;
    size_t size;
    char *data;
    int fd;

    if (argc == 6 && !strcmp(argv[1], "several")) {
        int count = atoi(argv[5]);

        if (count < 1 || count > CONNECTIONS_MAX)
            return 2;
        data = contents(argv[3], &size);
        over_several(argv[2], data, size, atol(argv[4]), count);
        print_processor_times();
        return 0;
    }
    if (argc != 5)
        return 2;
    if (!strcmp(argv[1], "libxenstore")) {
        printf("%.9f\n", one_by_one(argv[2], argv[3], atol(argv[4])));
        return 0;
    }
    fd = connect_to(argv[2]);
    data = contents(argv[3], &size);
    begin = now();
    if (!strcmp(argv[1], "transaction"))
        in_transaction(fd, data, size, atol(argv[4]));
    else if (!strcmp(argv[1], "single"))
        for (long count = atol(argv[4]); count > 0; count--) {
            send_all(fd, data, size_of(data));
            receive(fd, 1, MSG_DONTWAIT);
        }
    else
        return 2;
    printf("%.9f\n", now() - begin);
    return 0;
}
