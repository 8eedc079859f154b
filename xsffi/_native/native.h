/* Common declarations of the generated source and the hand-written C of xsffi._xenstore.
 *
 * <xenstore.h> is used if it exists. XSFFI_WITHOUT_XENSTORE_H ignores it, to test the build without it.
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
    const char *since; /* the Xen release that introduced it, "" if every libxenstore.so.4 has it */
    void *slot;        /* points to the pointer to fill in; that is NULL if the library lacks it */
};

#endif
