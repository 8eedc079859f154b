/* Preloaded (LD_PRELOAD=failing_malloc.so), lets a program make an allocation fail: after fail_allocation(n), the n-th
 * malloc, calloc or realloc of the calling thread returns NULL, once. fail_allocation(0) stops the counting, and returns
 * whether one has failed. */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

static __thread long left __attribute__((tls_model("initial-exec")));
static __thread int has_failed __attribute__((tls_model("initial-exec")));

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void (*real_free)(void *);

/* For what dlsym itself allocates before the real functions are known. */
static char first[4096];
static size_t first_used;

static void *from_first(size_t size)
{
    void *found = first + first_used;

    first_used += (size + 15) / 16 * 16;
    return first_used <= sizeof first ? found : NULL;
}

static int is_from_first(const void *block)
{
    return (const char *)block >= first && (const char *)block < first + sizeof first;
}

static void look_up(void)
{
    real_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    real_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
}

static int is_to_fail(void)
{
    if (left == 0 || --left > 0)
        return 0;
    has_failed = 1;
    errno = ENOMEM;
    return 1;
}

int fail_allocation(long n)
{
    int before = has_failed;

    left = n;
    has_failed = 0;
    return before;
}

__attribute__((constructor)) static void begin(void)
{
    look_up();
}

void *malloc(size_t size)
{
    if (real_malloc == NULL)
        return from_first(size);
    return is_to_fail() ? NULL : real_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    if (real_malloc == NULL)
        return from_first(count * size); /* still zero */
    return is_to_fail() ? NULL : real_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return is_to_fail() ? NULL : real_realloc(block, size);
}

void free(void *block)
{
    if (!is_from_first(block) && real_free != NULL)
        real_free(block);
}
