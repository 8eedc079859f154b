/* Operations on a handle of libxenstore with no Python code between the call and its result, so that they cost no more
 * than in xen.lowlevel.xs. On a machine that is awake, a round trip to the daemon takes ten microseconds, and Python code
 * that runs after a wait has cold caches: twenty bytecodes cost a tenth of that.
 */

#ifndef PYPY_VERSION

#include "plain.h"

/* A handle, freed with this object at the latest, and its users.
 *
 * Whoever wants to free it sets `over` and then reads `inside`; a user increments `inside` before it reads `over`. So
 * one of the two sees the other, however they race. Calls that use the address are counted by their callers.
 */
struct xsffi_handle {
    PyObject_HEAD
    struct xs_handle *handle; /* NULL once freed */
    char **event;             /* an event taken from libxenstore that there was no memory to deliver */
    int forks; /* of the process that opened it: see xsffi_forks */
    int over;
    int inside;
};

/* Whether the handle may be used; in any case, call xsffi_leave afterwards. */
static bool xsffi_enter(struct xsffi_handle *h)
{
    __atomic_add_fetch(&h->inside, 1, __ATOMIC_SEQ_CST);
    return !__atomic_load_n(&h->over, __ATOMIC_SEQ_CST) && h->forks == xsffi_forks;
}

/* Whether the handle is ending. Then this may have been the last user, and whoever ended it has left the freeing to
 * Python, which checks for that. */
static bool xsffi_leave(struct xsffi_handle *h)
{
    __atomic_sub_fetch(&h->inside, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&h->over, __ATOMIC_SEQ_CST);
}

/* Refuses new users, and returns how many are inside. */
static int xsffi_end(struct xsffi_handle *h)
{
    __atomic_store_n(&h->over, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&h->inside, __ATOMIC_SEQ_CST);
}

static void xsffi_free_handle(struct xsffi_handle *h)
{
    struct xs_handle *handle = __atomic_exchange_n(&h->handle, NULL, __ATOMIC_SEQ_CST);

    if (handle == NULL)
        return;
    free(h->event);
    h->event = NULL;
    Py_BEGIN_ALLOW_THREADS
    if (h->forks == xsffi_forks)
        xs_close(handle);
    else
        xs_daemon_destroy_postfork(handle); /* its thread only exists in the parent, and cannot be joined */
    Py_END_ALLOW_THREADS
}

/* Handle(flags): opens with xs_open; OSError on failure. */
static PyObject *xsffi_handle_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    struct xs_handle *handle;
    struct xsffi_handle *h;
    unsigned long flags;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "k", &flags))
        return NULL;
    h = (struct xsffi_handle *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (h == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    errno = 0;
    handle = xs_open(flags);
    Py_END_ALLOW_THREADS
    if (handle == NULL) {
        if (errno == 0)
            errno = ENOENT;
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF((PyObject *)h);
        return NULL;
    }
    h->handle = handle;
    h->forks = xsffi_forks;
    return (PyObject *)h;
}

static void xsffi_handle_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    xsffi_free_handle((struct xsffi_handle *)self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* The value as bytes; otherwise NULL, with the errno in `error`: EBADF if the handle is ending, 0 with an exception. */
static PyObject *xsffi_value_through(struct xsffi_handle *h, uint32_t transaction, const char *path, int *error)
{
    unsigned int length = 0;
    PyObject *contents;
    void *value = NULL;

    *error = EBADF;
    Py_BEGIN_ALLOW_THREADS
    if (xsffi_enter(h)) {
        errno = 0;
        value = xs_read(h->handle, transaction, path, &length);
        *error = errno;
    }
    if (xsffi_leave(h)) {
        free(value);
        value = NULL;
        *error = EBADF;
    }
    Py_END_ALLOW_THREADS
    if (value == NULL) {
        if (*error == 0)
            *error = EINVAL;
        return NULL;
    }
    *error = 0;
    contents = PyBytes_FromStringAndSize(value, length);
    free(value);
    return contents;
}

static PyObject *xsffi_handle_value_of(PyObject *self, uint32_t transaction, const char *path)
{
    int error;
    PyObject *contents = xsffi_value_through((struct xsffi_handle *)self, transaction, path, &error);

    return contents == NULL && error != 0 ? PyLong_FromLong(error) : contents;
}

/* read(path): the value; otherwise the errno, or None if Python must handle the path. */
static PyObject *xsffi_handle_read(PyObject *self, PyObject *path)
{
    PyObject *encoded = xsffi_plain_path(path), *value;

    if (encoded == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    value = xsffi_handle_value_of(self, XBT_NULL, PyBytes_AsString(encoded));
    Py_DECREF(encoded);
    return value;
}

/* value(transaction, path as bytes): the value; otherwise the errno. */
static PyObject *xsffi_handle_value(PyObject *self, PyObject *args)
{
    unsigned long transaction;
    const char *path;

    if (!PyArg_ParseTuple(args, "ky", &transaction, &path))
        return NULL;
    return xsffi_handle_value_of(self, (uint32_t)transaction, path);
}

static PyObject *xsffi_text(const char *text)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "surrogateescape");
}

/* take_event(into): whether the next event, as a tuple of path and token, was appended to the list; None if libxenstore
 * will never have another. Not thread-safe. */
static PyObject *xsffi_handle_take_event(PyObject *self, PyObject *into)
{
    struct xsffi_handle *h = (struct xsffi_handle *)self;
    PyObject *path, *token, *event = NULL;
    int error = EBADF, added = -1;

    if (!PyList_Check(into)) {
        PyErr_SetString(PyExc_TypeError, "the argument must be a list");
        return NULL;
    }
    if (xsffi_enter(h) && h->event == NULL) {
        char **found;

        Py_BEGIN_ALLOW_THREADS
        errno = 0;
        found = xs_check_watch(h->handle);
        error = errno;
        Py_END_ALLOW_THREADS
        h->event = found;
    }
    if (h->event == NULL) {
        xsffi_leave(h);
        if (error == EAGAIN)
            Py_RETURN_FALSE;
        Py_RETURN_NONE;
    }
    path = xsffi_text(h->event[XS_WATCH_PATH]);
    token = xsffi_text(h->event[XS_WATCH_TOKEN]);
    if (path != NULL && token != NULL)
        event = PyTuple_Pack(2, path, token);
    Py_XDECREF(path);
    Py_XDECREF(token);
    if (event != NULL)
        added = PyList_Append(into, event);
    Py_XDECREF(event);
    if (added == 0) {
        free(h->event);
        h->event = NULL;
    }
    xsffi_leave(h);
    if (added < 0)
        return NULL;
    Py_RETURN_TRUE;
}

/* end(): refuses new users; whether any are inside. */
static PyObject *xsffi_handle_end(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    return PyBool_FromLong(xsffi_end((struct xsffi_handle *)self));
}

/* free(): frees the handle, unless a user is inside; in a child process, leaves the parent's connection alone. */
static PyObject *xsffi_handle_free(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    /* Threads of the parent that were inside do not exist in the child. */
    if (!xsffi_end((struct xsffi_handle *)self) || ((struct xsffi_handle *)self)->forks != xsffi_forks)
        xsffi_free_handle((struct xsffi_handle *)self);
    Py_RETURN_NONE;
}

static PyObject *xsffi_handle_address(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromVoidPtr(((struct xsffi_handle *)self)->handle);
}

static PyMethodDef xsffi_handle_methods[] = {
    {"read", xsffi_handle_read, METH_O,
     "read(path): the value; otherwise the errno, or None if Python must handle the path."},
    {"value", xsffi_handle_value, METH_VARARGS, "value(transaction, path as bytes): the value; otherwise the errno."},
    {"take_event", xsffi_handle_take_event, METH_O,
     "take_event(into): whether the next event, as a tuple of path and token, was appended to the list; None if "
     "there will never be another."},
    {"end", xsffi_handle_end, METH_NOARGS, "end(): refuse new users; whether any are inside."},
    {"free", xsffi_handle_free, METH_NOARGS, "free(): free the handle, unless a user is inside."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef xsffi_handle_attributes[] = {
    {"address", xsffi_handle_address, NULL, "The address of the handle, for calls of libxenstore.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot xsffi_handle_slots[] = {
    {Py_tp_doc, "Handle(flags): a handle of libxenstore, opened by xs_open; OSError on failure."},
    {Py_tp_new, xsffi_handle_new},
    {Py_tp_dealloc, xsffi_handle_dealloc},
    {Py_tp_methods, xsffi_handle_methods},
    {Py_tp_getset, xsffi_handle_attributes},
    {0, NULL},
};

static PyType_Spec xsffi_handle_spec = {
    "xsffi._shortcuts.Handle", sizeof(struct xsffi_handle), 0, Py_TPFLAGS_DEFAULT, xsffi_handle_slots,
};

/* The base class of the drop-in. */
struct xsffi_reading {
    PyObject_HEAD
    struct xsffi_handle *through; /* NULL: no fast path */
    PyObject *held; /* all handles so far: another thread may still be reading through one */
};

static PyObject *xsffi_reading_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *self = ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);

    (void)args;
    (void)keywords;
    if (self != NULL && (((struct xsffi_reading *)self)->held = PyList_New(0)) == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return self;
}

static void xsffi_reading_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(((struct xsffi_reading *)self)->held);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* read(transaction, path): everything but the plain case is left to self._read, including errors. */
static PyObject *xsffi_reading_read(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct xsffi_handle *through = __atomic_load_n(&((struct xsffi_reading *)self)->through, __ATOMIC_ACQUIRE);

    if (through != NULL && keywords == NULL && PyTuple_Size(args) == 2) {
        PyObject *transaction = PyTuple_GetItem(args, 0), *path = PyTuple_GetItem(args, 1);

        if (PyUnicode_CheckExact(transaction) && PyUnicode_GetLength(transaction) == 0 && PyUnicode_CheckExact(path)) {
            PyObject *encoded = PyUnicode_AsUTF8String(path);
            const char *text;

            if (encoded == NULL)
                return NULL;
            text = PyBytes_AsString(encoded);
            if (strlen(text) == (size_t)PyBytes_Size(encoded)) {
                int error;
                PyObject *contents = xsffi_value_through(through, XBT_NULL, text, &error);

                Py_DECREF(encoded);
                if (contents != NULL || error == 0)
                    return contents;
                if (error == ENOENT)
                    Py_RETURN_NONE;
            } else {
                Py_DECREF(encoded);
            }
        }
    }

    PyObject *otherwise = PyObject_GetAttrString(self, "_read");
    if (otherwise == NULL)
        return NULL;
    PyObject *result = PyObject_Call(otherwise, args, keywords);
    Py_DECREF(otherwise);
    return result;
}

static PyTypeObject *xsffi_handle_type; /* the only type accepted by read_through */

/* read_through(handle): read through this Handle from now on; None: through none. */
static PyObject *xsffi_reading_read_through(PyObject *self, PyObject *handle)
{
    struct xsffi_reading *reading = (struct xsffi_reading *)self;

    if (handle == Py_None) {
        handle = NULL;
    } else if (Py_TYPE(handle) != xsffi_handle_type) {
        PyErr_SetString(PyExc_TypeError, "the argument must be a Handle or None");
        return NULL;
    } else if (PyList_Append(reading->held, handle) < 0) {
        return NULL;
    }
    __atomic_store_n(&reading->through, (struct xsffi_handle *)handle, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

static PyMethodDef xsffi_reading_methods[] = {
    {"read", (PyCFunction)(void (*)(void))xsffi_reading_read, METH_VARARGS | METH_KEYWORDS,
     "read(transaction, path): the value of a node, or None if there is none."},
    {"_read_through", xsffi_reading_read_through, METH_O, "Read through this Handle; None: through none."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot xsffi_reading_slots[] = {
    {Py_tp_doc, "Implements read() in C."},
    {Py_tp_new, xsffi_reading_new},
    {Py_tp_dealloc, xsffi_reading_dealloc},
    {Py_tp_methods, xsffi_reading_methods},
    {0, NULL},
};

static PyType_Spec xsffi_reading_spec = {
    "xsffi._shortcuts.Reading", sizeof(struct xsffi_reading), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    xsffi_reading_slots,
};

#endif
