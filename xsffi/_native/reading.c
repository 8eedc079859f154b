/* What is done over a handle of libxenstore without a step of Python between the call and its result, so that it costs no
 * more than with xen.lowlevel.xs. On a machine that is awake a trip to the daemon takes ten microseconds, and Python that
 * runs after a wait runs from cold caches: twenty steps of it cost a tenth of that.
 */

/* A handle, and who reads through it. Whoever wants to free it sets `over` and then looks at `inside`; a reader counts
 * itself before it looks at `over`. So one of the two sees the other, whichever way they race.
 */
struct xsffi_use {
    struct xs_handle *handle;
    int over;
    int inside;
};

/* Lets no reader in any more, and says how many are inside. */
static int xsffi_end_use(struct xsffi_use *use)
{
    __atomic_store_n(&use->over, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&use->inside, __ATOMIC_SEQ_CST);
}

#ifndef PYPY_VERSION

/* Whether the handle may be used, until xsffi_leave. */
static bool xsffi_enter(struct xsffi_use *use)
{
    __atomic_add_fetch(&use->inside, 1, __ATOMIC_SEQ_CST);
    return !__atomic_load_n(&use->over, __ATOMIC_SEQ_CST);
}

/* Whether it is over by now. Then this reader may have been the last one inside, and who asked for the end has left the
 * rest of it to Python, which looks for that. */
static bool xsffi_leave(struct xsffi_use *use)
{
    __atomic_sub_fetch(&use->inside, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&use->over, __ATOMIC_SEQ_CST);
}

/* The value, to be freed; else NULL, and in `error` the errno, EBADF where it is over. */
static void *xsffi_read_in_use(struct xsffi_use *use, uint32_t transaction, const char *path, unsigned int *length,
                               int *error)
{
    void *value = NULL;

    if (xsffi_enter(use)) {
        value = xs_read(use->handle, transaction, path, length);
        *error = errno;
    }
    if (xsffi_leave(use)) {
        free(value);
        value = NULL;
        *error = EBADF;
    }
    return value;
}

/* The value as bytes; else NULL, and in `error` the errno, 0 with an exception. */
static PyObject *xsffi_value_through(struct xsffi_use *use, uint32_t transaction, const char *path, int *error)
{
    unsigned int length = 0;
    PyObject *contents;
    void *value;

    Py_BEGIN_ALLOW_THREADS
    value = xsffi_read_in_use(use, transaction, path, &length, error);
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

/* A base class for the drop-in. */
struct xsffi_reading {
    PyObject_HEAD
    struct xsffi_use *use; /* NULL: there is no short way; else it lives as long as this object */
};

/* read(transaction, path): all that is not the plain case is for self._read, also to say what is wrong. */
static PyObject *xsffi_reading_read(PyObject *self, PyObject *args, PyObject *keywords)
{
    struct xsffi_use *use = ((struct xsffi_reading *)self)->use;

    if (use != NULL && keywords == NULL && PyTuple_Size(args) == 2) {
        PyObject *transaction = PyTuple_GetItem(args, 0), *path = PyTuple_GetItem(args, 1);

        if (PyUnicode_CheckExact(transaction) && PyUnicode_GetLength(transaction) == 0 && PyUnicode_CheckExact(path)) {
            PyObject *encoded = PyUnicode_AsUTF8String(path);
            const char *text;

            if (encoded == NULL)
                return NULL;
            text = PyBytes_AsString(encoded);
            if (strlen(text) == (size_t)PyBytes_Size(encoded)) {
                int error;
                PyObject *contents = xsffi_value_through(use, XBT_NULL, text, &error);

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

/* read_through(address): the use to read through from here on, by its address; 0: none. */
static PyObject *xsffi_reading_read_through(PyObject *self, PyObject *address)
{
    void *use = PyLong_AsVoidPtr(address);

    if (use == NULL && PyErr_Occurred())
        return NULL;
    ((struct xsffi_reading *)self)->use = use;
    Py_RETURN_NONE;
}

static PyMethodDef xsffi_reading_methods[] = {
    {"read", (PyCFunction)(void (*)(void))xsffi_reading_read, METH_VARARGS | METH_KEYWORDS,
     "read(transaction, path): the value of a node, or None where there is none."},
    {"_read_through", xsffi_reading_read_through, METH_O, "Read through the use at this address; 0: through none."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot xsffi_reading_slots[] = {
    {Py_tp_doc, "What has read() in C."},
    {Py_tp_methods, xsffi_reading_methods},
    {0, NULL},
};

static PyType_Spec xsffi_reading_spec = {
    "xsffi._shortcuts.Reading", sizeof(struct xsffi_reading), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    xsffi_reading_slots,
};

/* A reader: what the client's read() calls on a handle of libxenstore. */
struct xsffi_reader {
    PyObject_HEAD
    struct xsffi_use *use;
    PyObject *owner; /* of the use */
};

/* Reader(address of the use, what keeps that alive) */
static PyObject *xsffi_reader_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *address, *owner;
    struct xsffi_reader *reader;
    void *use;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "OO", &address, &owner))
        return NULL;
    use = PyLong_AsVoidPtr(address);
    if (use == NULL && PyErr_Occurred())
        return NULL;
    reader = (struct xsffi_reader *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (reader != NULL) {
        Py_INCREF(owner);
        reader->owner = owner;
        reader->use = use;
    }
    return (PyObject *)reader;
}

static void xsffi_reader_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_XDECREF(((struct xsffi_reader *)self)->owner);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *xsffi_reader_value_of(PyObject *self, uint32_t transaction, const char *path)
{
    int error;
    PyObject *contents = xsffi_value_through(((struct xsffi_reader *)self)->use, transaction, path, &error);

    return contents == NULL && error != 0 ? PyLong_FromLong(error) : contents;
}

/* read(path): the value; else the errno, or None where the path is for Python to look at. */
static PyObject *xsffi_reader_read(PyObject *self, PyObject *path)
{
    PyObject *encoded = xsffi_plain_path(path), *value;

    if (encoded == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    value = xsffi_reader_value_of(self, XBT_NULL, PyBytes_AsString(encoded));
    Py_DECREF(encoded);
    return value;
}

/* value(transaction, path as bytes): the value; else the errno. */
static PyObject *xsffi_reader_value(PyObject *self, PyObject *args)
{
    unsigned long transaction;
    const char *path;

    if (!PyArg_ParseTuple(args, "ky", &transaction, &path))
        return NULL;
    return xsffi_reader_value_of(self, (uint32_t)transaction, path);
}

/* check_watch(): path and token of the next event; None where there is none, False where something is wrong. */
static PyObject *xsffi_reader_check_watch(PyObject *self, PyObject *nothing)
{
    struct xsffi_use *use = ((struct xsffi_reader *)self)->use;
    PyObject *path, *token, *event;
    char **found = NULL;
    int error = EBADF;

    (void)nothing;
    Py_BEGIN_ALLOW_THREADS
    if (xsffi_enter(use)) {
        found = xs_check_watch(use->handle);
        error = errno;
    }
    xsffi_leave(use);
    Py_END_ALLOW_THREADS
    if (found == NULL && error == EAGAIN)
        Py_RETURN_NONE;
    if (found == NULL)
        Py_RETURN_FALSE;
    path = PyUnicode_DecodeUTF8(found[XS_WATCH_PATH], (Py_ssize_t)strlen(found[XS_WATCH_PATH]), "surrogateescape");
    token = PyUnicode_DecodeUTF8(found[XS_WATCH_TOKEN], (Py_ssize_t)strlen(found[XS_WATCH_TOKEN]), "surrogateescape");
    free(found);
    event = path == NULL || token == NULL ? NULL : PyTuple_Pack(2, path, token);
    Py_XDECREF(path);
    Py_XDECREF(token);
    return event;
}

static PyMethodDef xsffi_reader_methods[] = {
    {"read", xsffi_reader_read, METH_O,
     "read(path): the value; else the errno, or None where the path is for Python to look at."},
    {"value", xsffi_reader_value, METH_VARARGS, "value(transaction, path as bytes): the value; else the errno."},
    {"check_watch", xsffi_reader_check_watch, METH_NOARGS,
     "check_watch(): path and token of the next event; None where there is none, False where something is wrong."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot xsffi_reader_slots[] = {
    {Py_tp_doc, "Reads values and events over a handle of libxenstore."},
    {Py_tp_new, xsffi_reader_new},
    {Py_tp_dealloc, xsffi_reader_dealloc},
    {Py_tp_methods, xsffi_reader_methods},
    {0, NULL},
};

static PyType_Spec xsffi_reader_spec = {
    "xsffi._shortcuts.Reader", sizeof(struct xsffi_reader), 0, Py_TPFLAGS_DEFAULT, xsffi_reader_slots,
};

#endif
