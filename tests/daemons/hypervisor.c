/*
 * A stand-in for the hypervisor, so that Xen's own store daemons run on a machine without Xen.
 *
 * Preloaded into xenstored or oxenstored, it replaces the functions with which they access Xen (libxenctrl,
 * libxengnttab, libxenevtchn, libxenmanage), and the few others that would touch the machine's own /proc/xen,
 * /var/run/xenstored and syslog. It builds with the headers of any release. Its state is in one directory,
 * $XSFFI_HYPERVISOR_DIR:
 *
 *   ring-N     the page shared by domain N and the daemon: a process that maps the file is the guest. Dom0 has one too
 *   evtchn     the daemon's event channels, a datagram socket: four bytes, a port in native order, ring that port
 *   guest-P    a guest may bind a datagram socket here, to which port P is sent when the daemon rings it
 *
 * What a daemon would load from /usr/lib/xen-X.Y is looked up below $XSFFI_HYPERVISOR_PACKAGES, if that is set.
 *
 * Every valid domain id exists. Domain N is bound to port GUEST_PORT + N, whatever port INTRODUCE names.
 *
 * A pipe as standard input is a lifeline: the daemon is killed when its other end closes, and so cannot outlive the
 * process that started it, however that ends.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>

#define PAGE_BYTES 4096

enum { VIRQ_PORT = 1, DOM0_PORT = 2, GUEST_PORT = 100 };

static const char *directory;
static int handle; /* its address serves as every handle: nobody dereferences it */

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "hypervisor stand-in: %s: %s\n", what, strerror(errno));
    _exit(EXIT_FAILURE);
}

/* Writes the path of one of our files; false, with errno set, if it does not fit. */
static bool __attribute__((format(printf, 3, 4))) our_path(char *path, size_t size, const char *format, ...)
{
    va_list arguments;
    int start = snprintf(path, size, "%s/", directory), rest = 0;

    if (start > 0 && (size_t)start < size) {
        va_start(arguments, format);
        rest = vsnprintf(path + start, size - start, format, arguments);
        va_end(arguments);
    }
    if (start > 0 && rest > 0 && (size_t)start + rest < size)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

static void hold_lifeline(void)
{
    struct stat status;
    struct pollfd lifeline = {.fd = STDIN_FILENO};
    int flags = fcntl(STDIN_FILENO, F_GETFL);

    if (fstat(STDIN_FILENO, &status) || !S_ISFIFO(status.st_mode))
        return;
    /* The kernel sends the SIGKILL, so this works even while the daemon is stopped or busy. */
    if (flags < 0 || fcntl(STDIN_FILENO, F_SETOWN, getpid()) || fcntl(STDIN_FILENO, F_SETSIG, SIGKILL) ||
        fcntl(STDIN_FILENO, F_SETFL, flags | O_ASYNC))
        die("cannot hold the lifeline");
    if (poll(&lifeline, 1, 0) > 0 && (lifeline.revents & POLLHUP)) /* it closed before that */
        raise(SIGKILL);
}

static void __attribute__((constructor)) begin(void)
{
    directory = getenv("XSFFI_HYPERVISOR_DIR");
    if (!directory) {
        errno = EINVAL;
        die("XSFFI_HYPERVISOR_DIR is not set");
    }
    hold_lifeline();
}

/* The C library's own function, hidden by the function of the same name here. */
#define REAL(name) ((__typeof__(&name))real_function(#name))

static void *real_function(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (!function) {
        errno = ENOSYS;
        die(name);
    }
    return function;
}

/* Shared pages */

static int open_ring(uint32_t domid)
{
    char path[PATH_MAX];
    int fd;

    if (!our_path(path, sizeof path, "ring-%u", domid))
        return -1;
    fd = REAL(open)(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, PAGE_BYTES)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void *map_ring(uint32_t domid)
{
    int fd = open_ring(domid);
    void *page;

    if (fd < 0)
        return NULL;
    page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

xengnttab_handle *xengnttab_open(struct xentoollog_logger *logger, unsigned flags)
{
    return (xengnttab_handle *)&handle;
}

int xengnttab_close(xengnttab_handle *xgt)
{
    return 0;
}

int xengnttab_set_max_grants(xengnttab_handle *xgt, uint32_t count)
{
    return 0;
}

void *xengnttab_map_grant_ref(xengnttab_handle *xgt, uint32_t domid, uint32_t ref, int prot)
{
    return map_ring(domid);
}

int xengnttab_unmap(xengnttab_handle *xgt, void *page, uint32_t count)
{
    return munmap(page, PAGE_BYTES);
}

void *xc_map_foreign_range(xc_interface *xch, uint32_t domid, int size, int prot, unsigned long mfn)
{
    return map_ring(domid);
}

/* Domains */

xc_interface *xc_interface_open(xentoollog_logger *logger, xentoollog_logger *dombuild_logger, unsigned flags)
{
    return (xc_interface *)&handle;
}

int xc_interface_close(xc_interface *xch)
{
    return 0;
}

int xc_domain_getinfolist(xc_interface *xch, uint32_t first, unsigned int max, xc_domaininfo_t *info)
{
    if (!max || first >= DOMID_FIRST_RESERVED)
        return 0;
    memset(info, 0, sizeof *info);
    info->domain = first;
    info->flags = XEN_DOMINF_running;
    return 1;
}

#if XEN_DOMCTL_INTERFACE_VERSION < 0x16 /* up to Xen 4.17; then replaced by xc_domain_getinfo_single */
int xc_domain_getinfo(xc_interface *xch, uint32_t first, unsigned int max, xc_dominfo_t *info)
{
    if (!max || first >= DOMID_FIRST_RESERVED)
        return 0;
    memset(info, 0, sizeof *info);
    info->domid = first;
    info->running = 1;
    return 1;
}
#else
int xc_domain_getinfo_single(xc_interface *xch, uint32_t domid, xc_domaininfo_t *info)
{
    if (xc_domain_getinfolist(xch, domid, 1, info) == 1)
        return 0;
    errno = ESRCH;
    return -1;
}
#endif

/*
 * libxenmanage, which xenstored uses to query domains since Xen 4.21. Older headers lack it, so what is needed is declared
 * here.
 */
typedef struct xenmanage_handle xenmanage_handle;

enum { STATE_EXIST = 1, CAP_CONTROL = 1, CAP_HARDWARE = 2, CAP_XENSTORE = 4 };

xenmanage_handle *xenmanage_open(struct xentoollog_logger *logger, unsigned int flags)
{
    return (xenmanage_handle *)&handle;
}

int xenmanage_close(xenmanage_handle *xmh)
{
    return 0;
}

int xenmanage_get_domain_info(xenmanage_handle *xmh, unsigned int domid, unsigned int *state, unsigned int *caps,
                              uint64_t *unique_id)
{
    if (domid >= DOMID_FIRST_RESERVED) {
        errno = ENOENT;
        return -1;
    }
    if (state)
        *state = STATE_EXIST;
    if (caps)
        *caps = domid ? 0 : CAP_CONTROL | CAP_HARDWARE | CAP_XENSTORE;
    if (unique_id)
        *unique_id = domid + 1; /* 0 is not a valid id */
    return 0;
}

/* Reports dom0 as changed, once; no other domain ever changes. */
int xenmanage_poll_changed_domain(xenmanage_handle *xmh, unsigned int *domid, unsigned int *state, unsigned int *caps,
                                  uint64_t *unique_id)
{
    static bool told;

    if (told) {
        errno = ENOENT;
        return -1;
    }
    told = true;
    *domid = 0;
    return xenmanage_get_domain_info(xmh, 0, state, caps, unique_id);
}

/* Event channels */

static int evtchn_fd = -1, bell_fd = -1;

static int datagram_socket(int flags)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | flags, 0);

    if (fd < 0)
        die("socket");
    return fd;
}

xenevtchn_handle *xenevtchn_open(struct xentoollog_logger *logger, unsigned int flags)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (!our_path(address.sun_path, sizeof address.sun_path, "evtchn"))
        die("evtchn");
    evtchn_fd = datagram_socket(0); /* stays open across the exec of a live update, which passes it on */
    bell_fd = datagram_socket(SOCK_NONBLOCK | SOCK_CLOEXEC);
    REAL(unlink)(address.sun_path); /* left by an earlier daemon */
    if (REAL(bind)(evtchn_fd, (struct sockaddr *)&address, sizeof address))
        die(address.sun_path);
    return (xenevtchn_handle *)&handle;
}

xenevtchn_handle *xenevtchn_fdopen(struct xentoollog_logger *logger, int fd, unsigned int flags)
{
    evtchn_fd = fd;
    bell_fd = datagram_socket(SOCK_NONBLOCK | SOCK_CLOEXEC);
    return (xenevtchn_handle *)&handle;
}

int xenevtchn_close(xenevtchn_handle *xce)
{
    close(evtchn_fd);
    close(bell_fd);
    return 0;
}

int xenevtchn_fd(xenevtchn_handle *xce)
{
    return evtchn_fd;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle *xce, unsigned int virq)
{
    return VIRQ_PORT;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle *xce, uint32_t domid, evtchn_port_t remote_port)
{
    return domid ? GUEST_PORT + (int)domid : DOM0_PORT;
}

int xenevtchn_unbind(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

int xenevtchn_unmask(xenevtchn_handle *xce, evtchn_port_t port)
{
    return 0;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle *xce)
{
    evtchn_port_t port;

    return recv(evtchn_fd, &port, sizeof port, 0) == sizeof port ? (xenevtchn_port_or_error_t)port : -1;
}

int xenevtchn_notify(xenevtchn_handle *xce, evtchn_port_t port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (!our_path(address.sun_path, sizeof address.sun_path, "guest-%u", port))
        return -1;
    /* It is not an error if no guest listens, and a full queue wakes the guest as well as one more datagram would. */
    sendto(bell_fd, &port, sizeof port, 0, (struct sockaddr *)&address, sizeof address);
    return 0;
}

/* Paths of the machine's own files, redirected to our directory, or to the unpacked packages */

/* Whether a path is the directory of that name, or inside it; *rest is set to what follows the name. */
static bool is_in(const char *path, const char *name, const char **rest)
{
    const size_t length = strlen(name);

    *rest = path + length;
    return !strncmp(path, name, length) && (!**rest || **rest == '/');
}

/* The path to use instead of one in such a directory, or of the directory itself; any other path is unchanged. */
static const char *moved(const char *path, char *buffer, size_t size)
{
    const char *rest;

    if (!is_in(path, "/var/run/xenstored", &rest) && !is_in(path, "/var/lib/xen/xenstore", &rest))
        return path;
    if (!*rest)
        return directory;
    return our_path(buffer, size, "%s", rest + 1) ? buffer : NULL;
}

/* The same for oxenstored's plugins, which it loads from /usr/lib/xen-X.Y since Xen 4.20. */
static const char *unpacked(const char *path, char *buffer, size_t size)
{
    const char *packages = getenv("XSFFI_HYPERVISOR_PACKAGES");

    if (!packages || strncmp(path, "/usr/lib/xen-", strlen("/usr/lib/xen-")))
        return path;
    if ((size_t)snprintf(buffer, size, "%s%s", packages, path) < size)
        return buffer;
    errno = ENAMETOOLONG;
    return NULL;
}

DIR *opendir(const char *path)
{
    char buffer[PATH_MAX];
    const char *place = unpacked(path, buffer, sizeof buffer);

    return place ? REAL(opendir)(place) : NULL;
}

int stat64(const char *path, struct stat64 *status)
{
    char buffer[PATH_MAX];
    const char *place = unpacked(path, buffer, sizeof buffer);

    return place ? REAL(stat64)(place, status) : -1;
}

void *dlopen(const char *path, int flags)
{
    char buffer[PATH_MAX];
    const char *place = path ? unpacked(path, buffer, sizeof buffer) : NULL;

    return path && !place ? NULL : REAL(dlopen)(place, flags);
}

/* The files in /proc/xen through which dom0 finds its store's event channel and page; NOT_SPECIAL for any other. */
enum { NOT_SPECIAL = -2 };

static int open_special(const char *path)
{
    int fd;

    if (!strcmp(path, "/proc/xen/xsd_kva"))
        return open_ring(0);
    if (strcmp(path, "/proc/xen/xsd_port"))
        return NOT_SPECIAL;
    fd = memfd_create("xsd_port", MFD_CLOEXEC);
    if (fd >= 0 && (write(fd, "1", 1) != 1 || lseek(fd, 0, SEEK_SET))) {
        close(fd);
        return -1;
    }
    return fd;
}

#define DEFINE_OPEN(name)                                              \
    int name(const char *path, int flags, ...)                         \
    {                                                                  \
        char buffer[PATH_MAX];                                         \
        const char *place = moved(path, buffer, sizeof buffer);        \
        va_list arguments;                                             \
        mode_t mode = 0;                                               \
        int fd = open_special(path);                                   \
                                                                       \
        if (fd != NOT_SPECIAL)                                         \
            return fd;                                                 \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {     \
            va_start(arguments, flags);                                \
            mode = va_arg(arguments, mode_t);                          \
            va_end(arguments);                                         \
        }                                                              \
        return place ? REAL(name)(place, flags, mode) : -1;            \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

int mkdir(const char *path, mode_t mode)
{
    char buffer[PATH_MAX];
    const char *place = moved(path, buffer, sizeof buffer);

    return place ? REAL(mkdir)(place, mode) : -1;
}

int unlink(const char *path)
{
    char buffer[PATH_MAX];
    const char *place = moved(path, buffer, sizeof buffer);

    return place ? REAL(unlink)(place) : -1;
}

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_un ours = {.sun_family = AF_UNIX};
    const char *path = ((const struct sockaddr_un *)address)->sun_path, *place;

    if (address->sa_family != AF_UNIX)
        return REAL(bind)(fd, address, length);
    place = moved(path, ours.sun_path, sizeof ours.sun_path);
    if (!place)
        return -1;
    if (place == path)
        return REAL(bind)(fd, address, length);
    return REAL(bind)(fd, (struct sockaddr *)&ours, sizeof ours);
}

/* oxenstored raises its limit of descriptors at start, and exits if it may not, as an ordinary user may not. */
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return 0;
}

/* What the daemons send to syslog (a guest over its quota, say) goes to their own output. */
void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}
