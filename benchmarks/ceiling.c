/* What the daemon can do at most: reads of one node over its socket, pipelined, with nothing else to do. And what libxenstore
 * does from C, one at a time.
 *
 *   ceiling pipelined SOCKET PATH COUNT WINDOW   prints the seconds that COUNT reads took
 *   ceiling libxenstore LIBRARY PATH COUNT       the same by xs_read, at $XENSTORED_PATH
 */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

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

/* Receives so many whole replies. */
static void receive(int fd, long count)
{
    static char buffer[1 << 20];
    static size_t have;

    while (count > 0) {
        size_t at = 0;

        while (count > 0 && have - at >= 16) {
            uint32_t header[4];

            memcpy(header, buffer + at, sizeof header);
            if (have - at < 16 + header[3])
                break;
            at += 16 + header[3];
            count--;
        }
        memmove(buffer, buffer + at, have - at);
        have -= at;
        if (count > 0) {
            ssize_t n = read(fd, buffer + have, sizeof buffer - have);

            if (n <= 0)
                fail("read");
            have += (size_t)n;
        }
    }
}

static double pipelined(const char *socket_path, const char *path, long count, long window)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    uint32_t length = (uint32_t)strlen(path) + 1;
    size_t size = 16 + length;
    char *batch = malloc(size * (size_t)window);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    double begin;
    long sent = 0, received = 0;

    strncpy(address.sun_path, socket_path, sizeof address.sun_path - 1);
    if (!batch || fd < 0 || connect(fd, (void *)&address, sizeof address))
        fail(socket_path);
    for (long i = 0; i < window; i++) {
        uint32_t header[4] = { 2, (uint32_t)i + 1, 0, length };

        memcpy(batch + size * (size_t)i, header, sizeof header);
        memcpy(batch + size * (size_t)i + 16, path, length);
    }
    begin = now();
    /* Two windows are on their way at a time. */
    while (received < count) {
        while (sent < count && sent - received < 2 * window) {
            long n = count - sent < window ? count - sent : window;

            if (write(fd, batch, size * (size_t)n) != (ssize_t)(size * (size_t)n))
                fail("write");
            sent += n;
        }
        long n = sent - received < window ? sent - received : window;
        receive(fd, n);
        received += n;
    }
    return now() - begin;
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
    double seconds;

    if (argc == 6 && !strcmp(argv[1], "pipelined"))
        seconds = pipelined(argv[2], argv[3], atol(argv[4]), atol(argv[5]));
    else if (argc == 5 && !strcmp(argv[1], "libxenstore"))
        seconds = one_by_one(argv[2], argv[3], atol(argv[4]));
    else
        return 2;
    printf("%.9f\n", seconds);
    return 0;
}
