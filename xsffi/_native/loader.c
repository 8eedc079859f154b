/* Opens libxenstore at run time and fills the slots of its functions.
 *
 * The generated source includes this file after the table xsffi_functions and the wrappers: a name like xs_open is its
 * wrapper here, which fails with ENOSYS while the slot is empty.
 *
 * Nothing here takes a lock. Callers let one thread at a time into xsffi_load, and load before they use the functions.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XSFFI_FUNCTION_COUNT (sizeof(xsffi_functions) / sizeof(xsffi_functions[0]))

static const char *xsffi_library_path; /* NULL until a library is open */

/* How many forks lie between this process and the one that opened the library. It is counted before fork() returns, so
 * that whatever runs first in a child, be it a finalizer, finds that a handle is its parent's. */
static int xsffi_forks;

static void xsffi_count_fork(void)
{
    xsffi_forks++;
}

static const struct xsffi_function *xsffi_find(const char *name)
{
    for (size_t i = 0; i < XSFFI_FUNCTION_COUNT; i++)
        if (strcmp(xsffi_functions[i].name, name) == 0)
            return &xsffi_functions[i];
    return NULL;
}

/* Opens the library, by soname or path, for the rest of the process. NULL on success; else a sentence that says what is
 * wrong, which is ours and lasts until the next call.
 *
 * There is one library to a process, because a handle of one must never reach another. To load the same once more
 * succeeds and changes nothing; a different one is refused. It is never closed: its reader threads may be running.
 */
static const char *xsffi_load(const char *soname)
{
    static void *library;
    static char problem[1024];

    /* NOW: what the library itself lacks is reported here, not by the death of the process at some later call.
     * LOCAL: its names stay out of the way of everybody else's. */
    void *opened = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (opened == NULL) {
        snprintf(problem, sizeof(problem), "%s", dlerror());
        return problem;
    }
    if (library != NULL) {
        dlclose(opened); /* only gives back the count */
        if (opened == library)
            return NULL;
        snprintf(problem, sizeof(problem), "%s: this process uses %s already", soname, xsffi_library_path);
        return problem;
    }
    void *probe = dlsym(opened, "xs_open");
    if (probe == NULL) {
        dlclose(opened);
        snprintf(problem, sizeof(problem), "%s is no libxenstore: it has no xs_open", soname);
        return problem;
    }
    if (pthread_atfork(NULL, NULL, xsffi_count_fork) != 0) {
        dlclose(opened);
        snprintf(problem, sizeof(problem), "%s: there is not enough memory", soname);
        return problem;
    }
    for (size_t i = 0; i < XSFFI_FUNCTION_COUNT; i++) {
        void *address = dlsym(opened, xsffi_functions[i].name);
        /* C has no conversion from an object's pointer to a function's; POSIX gives them one representation. */
        memcpy(xsffi_functions[i].slot, &address, sizeof(address));
    }
    Dl_info info;
    xsffi_library_path = dladdr(probe, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "libxenstore";
    library = opened;
    return NULL;
}

/* The file that was opened, or NULL. */
static const char *xsffi_library(void)
{
    return xsffi_library_path;
}

/* Whether the library that is open has this C function. */
static int xsffi_has(const char *function)
{
    const struct xsffi_function *found = xsffi_find(function);
    void *address = NULL;

    if (found != NULL)
        memcpy(&address, found->slot, sizeof(address));
    return address != NULL;
}

/* The Xen release that brought this C function: "4.21"; "" where every libxenstore.so.4 has it; NULL for a name that is
 * none of libxenstore's. */
static const char *xsffi_since(const char *function)
{
    const struct xsffi_function *found = xsffi_find(function);

    return found == NULL ? NULL : found->since;
}
