/* Waiting for events over a handle of libxenstore, and what is done with its descriptors.
 *
 * Not with Python's modules select and socket: gevent and eventlet replace them, and their sockets make a descriptor
 * non-blocking, so that of libxenstore too, of which ours is a duplicate.
 *
 * A descriptor of -1 stands for none. What fails leaves its reason in errno.
 */

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define XSFFI_EVENTS 1
#define XSFFI_WOKEN 2
#define XSFFI_HUNG_UP 4

/* Waits for so many nanoseconds until one of three descriptors says something, or a signal comes, and tells which did.
 * `liveness` is asked only whether the other end has hung up, which is told whatever one asks for. */
static int xsffi_wait(int events, int wakeup, int liveness, int64_t nanoseconds)
{
    struct pollfd fds[3] = {{events, POLLIN, 0}, {wakeup, POLLIN, 0}, {liveness, 0, 0}};
    struct timespec time = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};

    if (ppoll(fds, 3, &time, NULL) <= 0)
        return 0;
    return (fds[0].revents ? XSFFI_EVENTS : 0) | (fds[1].revents ? XSFFI_WOKEN : 0) |
           (fds[2].revents ? XSFFI_HUNG_UP : 0);
}

/* Has `place` keep a new descriptor, unless another thread was faster; 0, or -1 where there was none to be had. */
static int xsffi_keep(int *place, int fd)
{
    int none = -1;

    if (fd >= 0 && !__atomic_compare_exchange_n(place, &none, fd, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        close(fd);
    return fd < 0 ? -1 : 0;
}

/* Has `place` keep a wakeup, if it has none: a descriptor that is readable from when it is set until it is cleared. */
static int xsffi_open_wakeup(int *place)
{
    if (__atomic_load_n(place, __ATOMIC_SEQ_CST) >= 0)
        return 0;
    return xsffi_keep(place, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void xsffi_set(int wakeup)
{
    if (wakeup >= 0)
        (void)!eventfd_write(wakeup, 1); /* full: it is readable */
}

static void xsffi_clear(int wakeup)
{
    eventfd_t count;

    if (wakeup >= 0)
        (void)!eventfd_read(wakeup, &count);
}

static int xsffi_add(int epoll, int fd, uint32_t interest)
{
    struct epoll_event event = {.events = interest};

    return fd < 0 ? 0 : epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Has `place` keep, if it has none, a descriptor that is readable while xsffi_wait would come back. */
static int xsffi_open_combined(int *place, int events, int wakeup, int liveness)
{
    int fd, error;

    if (__atomic_load_n(place, __ATOMIC_SEQ_CST) >= 0)
        return 0;
    fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd >= 0 && (xsffi_add(fd, events, EPOLLIN) || xsffi_add(fd, wakeup, EPOLLIN) || xsffi_add(fd, liveness, 0))) {
        error = errno;
        close(fd);
        errno = error;
        fd = -1;
    }
    return xsffi_keep(place, fd);
}

/* Closes what `place` keeps. */
static void xsffi_close(int *place)
{
    int fd = __atomic_exchange_n(place, -1, __ATOMIC_SEQ_CST);

    if (fd >= 0)
        close(fd);
}

/* Whether the descriptor is a unix socket connected to the file `path`. */
static int xsffi_is_connected_to(int fd, const char *path)
{
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    struct stat there, here;

    memset(&address, 0, sizeof address);
    if (getpeername(fd, (struct sockaddr *)&address, &size) != 0 || address.sun_family != AF_UNIX)
        return 0;
    /* A path as long as can be has no NUL behind it there. */
    char connected[sizeof address.sun_path + 1] = "";
    memcpy(connected, address.sun_path, sizeof address.sun_path);
    return stat(connected, &there) == 0 && stat(path, &here) == 0 && there.st_dev == here.st_dev &&
           there.st_ino == here.st_ino;
}

/* The process at the other end of a unix socket, as it was when it began to listen; 0 where it is not to be seen. */
static int xsffi_peer(int fd)
{
    struct ucred peer = {0, 0, 0};
    socklen_t size = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}
