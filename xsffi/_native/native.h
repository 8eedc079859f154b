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

/* A row of the table of libxenstore's functions. */
struct xsffi_function {
    const char *name;
    const char *since; /* the Xen release that brought it, "" where every libxenstore.so.4 has it */
    void *slot;        /* the pointer to fill with its address; NULL in it: not there */
};

#endif
