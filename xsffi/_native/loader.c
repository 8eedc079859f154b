/* Opens libxenstore at run time and fills in the table of its functions.
 *
 * The generated source includes this file after the table xsffi_functions and the wrappers: a name like xs_open is the
 * wrapper here, which fails with ENOSYS while its slot is empty.
 *
 * Nothing here takes a lock: callers must serialise xsffi_load, and call it before any of the functions.
 */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XSFFI_FUNCTION_COUNT (sizeof(xsffi_functions) / sizeof(xsffi_functions[0]))

static const char *xsffi_library_path; /* NULL until a library is open */

/* How many forks lie between this process and the one that opened the library. Incremented before fork() returns, so that
 * even the first code to run in a child, such as a finalizer, sees that a handle belongs to its parent. */
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

/* Opens the library, by soname or path, for the rest of the process. Returns NULL on success; otherwise a message, which
 * stays valid until the next call.
 *
 * There is one library per process, because a handle of one must never reach another. Loading the same one again
 * succeeds and does nothing; a different one is refused. It is never closed: its reader threads may be running.
 */
static const char *xsffi_load(const char *soname)
{
    static void *library;
    static char problem[1024];

    /* NOW: unresolved symbols are reported here, instead of killing the process at some later call.
     * LOCAL: its names do not interfere with anybody else's. */
    void *opened = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
    if (opened == NULL) {
        snprintf(problem, sizeof(problem), "%s", dlerror());
        return problem;
    }
    if (library != NULL) {
        dlclose(opened); /* only drops the reference */
        if (opened == library)
            return NULL;
        snprintf(problem, sizeof(problem), "%s: this process already uses %s", soname, xsffi_library_path);
        return problem;
    }
    void *probe = dlsym(opened, "xs_open");
    if (probe == NULL) {
        dlclose(opened);
        snprintf(problem, sizeof(problem), "%s is not libxenstore: it has no xs_open", soname);
        return problem;
    }
    if (pthread_atfork(NULL, NULL, xsffi_count_fork) != 0) {
        dlclose(opened);
        snprintf(problem, sizeof(problem), "%s: out of memory", soname);
        return problem;
    }
    for (size_t i = 0; i < XSFFI_FUNCTION_COUNT; i++) {
        void *address = dlsym(opened, xsffi_functions[i].name);
        /* ISO C has no conversion from object pointers to function pointers; POSIX guarantees that they are alike. */
        memcpy(xsffi_functions[i].slot, &address, sizeof(address));
    }
    Dl_info info;
    xsffi_library_path = dladdr(probe, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "libxenstore";
    library = opened;
    return NULL;
}

/* The file that was loaded, or NULL. */
static const char *xsffi_library(void)
{
    return xsffi_library_path;
}

/* Whether the loaded library has this C function. */
static int xsffi_has(const char *function)
{
    const struct xsffi_function *found = xsffi_find(function);
    void *address = NULL;

    if (found != NULL)
        memcpy(&address, found->slot, sizeof(address));
    return address != NULL;
}

/* The Xen release that introduced this C function: "4.21"; "" if every libxenstore.so.4 has it; NULL if the name is not
 * one of libxenstore's. */
static const char *xsffi_since(const char *function)
{
    const struct xsffi_function *found = xsffi_find(function);

    return found == NULL ? NULL : found->since;
}
