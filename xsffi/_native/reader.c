/* A READ whose value is copied into memory of the caller's: one crossing between Python and C, where xs_read, a look at
 * what it returned and free would be three. Nothing is left to be freed, either, when Ctrl-C comes at the return.
 */

#define XSFFI_VALUE_MAX 4096 /* XENSTORE_PAYLOAD_MAX: libxenstore accepts no longer reply */

/* A handle, and who uses it. Whoever wants to free it sets `over` and then looks at `inside`; a reader counts itself
 * before it looks at `over`. So one of the two sees the other, whichever way they race.
 */
struct xsffi_use {
    struct xs_handle *handle;
    int over;
    int inside;
};

struct xsffi_reader {
    struct xsffi_use *use;
    char value[XSFFI_VALUE_MAX];
};

/* The length of the value, which is in reader->value then; or the negative of the errno that xs_read left, EBADF where
 * it is over. */
static int xsffi_read(struct xsffi_reader *reader, uint32_t transaction, const char *path)
{
    struct xsffi_use *use = reader->use;
    int result = -EBADF;

    __atomic_add_fetch(&use->inside, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&use->over, __ATOMIC_SEQ_CST)) {
        unsigned int length;
        void *value = xs_read(use->handle, transaction, path, &length);

        if (value == NULL) {
            result = -errno;
        } else if (length > XSFFI_VALUE_MAX) {
            result = -EMSGSIZE;
        } else {
            memcpy(reader->value, value, length);
            result = (int)length;
        }
        free(value);
    }
    __atomic_sub_fetch(&use->inside, 1, __ATOMIC_SEQ_CST);
    return result;
}

/* Lets no reader in any more, and says how many are inside. */
static int xsffi_end_use(struct xsffi_use *use)
{
    __atomic_store_n(&use->over, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&use->inside, __ATOMIC_SEQ_CST);
}
