/* Waiting for events on a handle of libxenstore, and operations on its descriptors.
 *
 * Python's modules select and socket are not used: gevent and eventlet replace them, and their sockets make a descriptor
 * non-blocking, which would affect libxenstore's too, since ours is a duplicate of it.
 *
 * A descriptor of -1 means none. Failures set errno.
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

/* Waits up to this many nanoseconds until one of three descriptors is ready, or a signal arrives; returns which is.
 * `liveness` is only polled for a hang-up, which poll always reports. */
static int xsffi_wait(int events, int wakeup, int liveness, int64_t nanoseconds)
{
    struct pollfd fds[3] = {{events, POLLIN, 0}, {wakeup, POLLIN, 0}, {liveness, 0, 0}};
    struct timespec time = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};

    if (ppoll(fds, 3, &time, NULL) <= 0)
        return 0;
    return (fds[0].revents ? XSFFI_EVENTS : 0) | (fds[1].revents ? XSFFI_WOKEN : 0) |
           (fds[2].revents ? XSFFI_HUNG_UP : 0);
}

/* Stores a new descriptor in `place`, unless another thread did so first; 0, or -1 if none could be created. */
static int xsffi_keep(int *place, int fd)
{
    int none = -1;

    if (fd >= 0 && !__atomic_compare_exchange_n(place, &none, fd, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        close(fd);
    return fd < 0 ? -1 : 0;
}

/* Creates a wakeup in `place` if there is none: a descriptor that is readable from when it is set until it is cleared. */
static int xsffi_open_wakeup(int *place)
{
    if (__atomic_load_n(place, __ATOMIC_SEQ_CST) >= 0)
        return 0;
    return xsffi_keep(place, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void xsffi_set(int wakeup)
{
    if (wakeup >= 0)
        (void)!eventfd_write(wakeup, 1); /* full: already readable */
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

/* Creates in `place`, if there is none, a descriptor that is readable while xsffi_wait would return. */
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

/* Closes the descriptor in `place`. */
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
    /* A path of maximum length is not NUL-terminated there. */
    char connected[sizeof address.sun_path + 1] = "";
    memcpy(connected, address.sun_path, sizeof address.sun_path);
    return stat(connected, &there) == 0 && stat(path, &here) == 0 && there.st_dev == here.st_dev &&
           there.st_ino == here.st_ino;
}

/* The process at the other end of a unix socket when it started to listen; 0 if it is not visible from here. */
static int xsffi_peer(int fd)
{
    struct ucred peer = {0, 0, 0};
    socklen_t size = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}
