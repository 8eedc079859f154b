/* What the generated source and the hand-written C of xsffi._xenstore rest on.
 *
 * <xenstore.h> is used where there is one. XSFFI_WITHOUT_XENSTORE_H ignores it, to build as where it is absent.
 */

#ifndef XSFFI_NATIVE_H
#define XSFFI_NATIVE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__has_include) && !defined(XSFFI_WITHOUT_XENSTORE_H)
#if __has_include(<xenstore.h>)
#define XSFFI_XENSTORE_H
#include <xenstore.h>
#endif
#endif

/* The protocol, as far as it is spoken here: xsffi/protocol/wire.py has all of it. */
#define XSFFI_HEADER_SIZE 16
#define XSFFI_PAYLOAD_MAX 4096
#define XSFFI_READ 2
#define XSFFI_WATCH_EVENT 15
#define XSFFI_ABSOLUTE_MAX 3072
#define XSFFI_RELATIVE_MAX 2048

/* The daemon's socket, as seen by the one who receives from it: stream.c. Times are nanoseconds. */
struct xsffi_stream {
    int fd;
    int wake_fd;       /* readable when a wait is to end */
    int status;        /* what the last receive ended with: one of those below, or an errno */
    int64_t spin_max;  /* the longest time to spin; 0: never */
    int64_t trip[2];   /* what the last answers took, smoothed, that were not spun for, and that were */
    bool crowded;      /* other threads have use for the processor */
    uint32_t waits;
    uint32_t replies;  /* whole replies in the last receive */
    uint64_t body_left;
    uint32_t header_have;
    bool is_reply;
    char header[16];
    int held;          /* bytes at the start of the buffer that are still to be returned */
};

#define XSFFI_STREAM_OPEN 0
#define XSFFI_STREAM_ENDED (-1)
#define XSFFI_STREAM_WOKEN (-2)

/* A row of the table of libxenstore's functions. */
struct xsffi_function {
    const char *name;
    const char *since; /* the Xen release that brought it, "" where every libxenstore.so.4 has it */
    void *slot;        /* the pointer to fill with its address; NULL in it: not there */
};

#endif
