/* A stand-in for the libxenstore of Xen 4.22, for functions that older libraries lack. It has no daemon: its answers show
 * the arguments that it was called with.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct xs_handle {
    int fd;
};

static bool knows_depth = true;
static bool is_guest; /* a guest may not set a depth */

struct xs_handle *xs_open(unsigned long flags)
{
    struct xs_handle *h = malloc(sizeof *h);

    (void)flags;
    if (h)
        h->fd = -1;
    knows_depth = !getenv("FAKE_WITHOUT_DEPTH");
    is_guest = getenv("FAKE_GUEST");
    return h;
}

/* Only XENSTORED_PATH. */
const char *xs_daemon_socket(void) { return getenv("XENSTORED_PATH"); }

void xs_close(struct xs_handle *h) { free(h); }
void xs_daemon_destroy_postfork(struct xs_handle *h) { free(h); }

char *xs_get_domain_path(struct xs_handle *h, unsigned int domid)
{
    (void)h;
    (void)domid;
    return strdup("/local/domain/0");
}

/* The answer of the first daemon that this process asked, which was another one. */
bool xs_get_features_supported(struct xs_handle *h, unsigned int *features)
{
    (void)h;
    *features = is_guest ? 2 : 1;
    return true;
}

bool xs_get_features_domain(struct xs_handle *h, unsigned int domid, unsigned int *features)
{
    (void)h;
    errno = EACCES;
    *features = domid ? domid : knows_depth ? 7 : 3;
    return !is_guest;
}

bool xs_set_features_domain(struct xs_handle *h, unsigned int domid, unsigned int features)
{
    (void)h;
    errno = EBUSY;
    return domid == 5 && features == 3;
}

/* One block, as in the real library: the pointers, followed by the strings. */
const char **xs_get_quota_names(struct xs_handle *h, unsigned int *num)
{
    static const char names[] = "nodes\0watches";
    char **result = malloc(2 * sizeof *result + sizeof names);

    (void)h;
    if (!result)
        return NULL;
    memcpy(result + 2, names, sizeof names);
    result[0] = (char *)(result + 2);
    result[1] = result[0] + strlen("nodes") + 1;
    *num = 2;
    return (const char **)result;
}

static bool get(const char *quota, unsigned int answer, unsigned int *value)
{
    errno = EINVAL;
    *value = answer;
    return !strcmp(quota, "nodes");
}

bool xs_get_global_quota(struct xs_handle *h, const char *quota, unsigned int *value)
{
    (void)h;
    return get(quota, 1000, value);
}

bool xs_set_global_quota(struct xs_handle *h, const char *quota, unsigned int value)
{
    (void)h;
    errno = EINVAL;
    return !strcmp(quota, "nodes") && value == 2000;
}

bool xs_get_domain_quota(struct xs_handle *h, unsigned int domid, const char *quota, unsigned int *value)
{
    (void)h;
    return get(quota, domid, value);
}

bool xs_set_domain_quota(struct xs_handle *h, unsigned int domid, const char *quota, unsigned int value)
{
    (void)h;
    errno = EINVAL;
    return domid == 5 && !strcmp(quota, "nodes") && value == 0;
}

/* If depth is not supported, errno is left unchanged. */
bool xs_watch_depth(struct xs_handle *h, const char *path, const char *token, unsigned int depth)
{
    (void)h;
    (void)token;
    if (!knows_depth || is_guest)
        return false;
    errno = EINVAL;
    return !strcmp(path, "/a") && depth == 1;
}

bool xs_unwatch(struct xs_handle *h, const char *path, const char *token)
{
    (void)h;
    (void)path;
    (void)token;
    return true;
}
