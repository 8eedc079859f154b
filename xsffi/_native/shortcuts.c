/* A second module in the same file, xsffi._shortcuts: what is done without a step of Python, where that counts.
 * xsffi/backends/extension.py loads it. */

#ifndef PYPY_VERSION

/* receive(address of the stream, of the buffer, its size, incoming, want, writing, timeout): xsffi_receive, whose bytes are in
 * the list when it returns; what it ended with. Nothing runs in between, no collector of garbage either: what a finalizer
 * or a signal handler does with the client finds the bytes there. */
static PyObject *xsffi_receive_into(PyObject *module, PyObject *args)
{
    int capacity, want, writing, received, status;
    unsigned long long stream, buffer;
    struct xsffi_stream *s;
    PyObject *incoming;
    long long timeout;

    (void)module;
    if (!PyArg_ParseTuple(args, "KKiO!iiL", &stream, &buffer, &capacity, &PyList_Type, &incoming, &want, &writing,
                          &timeout))
        return NULL;
    s = (struct xsffi_stream *)(uintptr_t)stream;
    Py_BEGIN_ALLOW_THREADS
    received = xsffi_receive(s, (char *)(uintptr_t)buffer, capacity, want, writing, timeout);
    status = s->status;
    Py_END_ALLOW_THREADS
    if (received > 0) {
        PyObject *piece = PyBytes_FromStringAndSize((char *)(uintptr_t)buffer, received);
        int added = piece == NULL ? -1 : PyList_Append(incoming, piece);

        Py_XDECREF(piece);
        if (added < 0)
            return NULL;
    }
    return PyLong_FromLong(status);
}

/* take_replies(data, offset, first, replies): see xsffi/protocol/wire.py */
static PyObject *xsffi_take_replies(PyObject *module, PyObject *args)
{
    PyObject *data, *replies;
    Py_ssize_t offset, size;
    unsigned long first;
    const char *bytes;

    (void)module;
    if (!PyArg_ParseTuple(args, "SnkO!", &data, &offset, &first, &PyList_Type, &replies))
        return NULL;
    bytes = PyBytes_AsString(data);
    size = PyBytes_Size(data);
    while (offset >= 0 && size - offset >= XSFFI_HEADER_SIZE) {
        PyObject *reply, *type, *payload;
        uint32_t header[4], place;

        memcpy(header, bytes + offset, sizeof header);
        place = header[1] - (uint32_t)first;
        if (header[3] > (size_t)(size - offset - XSFFI_HEADER_SIZE) || header[1] < first ||
            place >= (size_t)PyList_Size(replies) || header[0] == XSFFI_WATCH_EVENT)
            break;
        reply = PyTuple_New(2);
        type = PyLong_FromUnsignedLong(header[0]);
        payload = PyBytes_FromStringAndSize(bytes + offset + XSFFI_HEADER_SIZE, header[3]);
        if (reply == NULL || type == NULL || payload == NULL) {
            Py_XDECREF(reply);
            Py_XDECREF(type);
            Py_XDECREF(payload);
            return NULL;
        }
        PyTuple_SetItem(reply, 0, type);
        PyTuple_SetItem(reply, 1, payload);
        if (PyList_SetItem(replies, (Py_ssize_t)place, reply) < 0)
            return NULL;
        offset += XSFFI_HEADER_SIZE + (Py_ssize_t)header[3];
    }
    return PyLong_FromSsize_t(offset);
}

/* The text from `text` to a NUL or the end, and in `rest` what is behind that. */
static PyObject *xsffi_text(const char *text, const char *end, const char **rest)
{
    const char *nul = memchr(text, 0, (size_t)(end - text));
    const char *stop = nul == NULL ? end : nul;

    *rest = nul == NULL ? end : nul + 1;
    return PyUnicode_DecodeUTF8(text, stop - text, "surrogateescape");
}

/* take_events(data, offset): see xsffi/protocol/wire.py */
static PyObject *xsffi_take_events(PyObject *module, PyObject *args)
{
    PyObject *data, *events = PyList_New(0);
    Py_ssize_t offset, size;
    const char *bytes;

    (void)module;
    if (events == NULL || !PyArg_ParseTuple(args, "Sn", &data, &offset))
        goto failed;
    bytes = PyBytes_AsString(data);
    size = PyBytes_Size(data);
    while (offset >= 0 && size - offset >= XSFFI_HEADER_SIZE) {
        const char *text = bytes + offset + XSFFI_HEADER_SIZE, *end;
        PyObject *path, *token, *event;
        uint32_t header[4];
        int added;

        memcpy(header, bytes + offset, sizeof header);
        if (header[0] != XSFFI_WATCH_EVENT || header[3] > (size_t)(size - offset - XSFFI_HEADER_SIZE))
            break;
        end = text + header[3];
        path = xsffi_text(text, end, &text);
        token = xsffi_text(text, end, &text);
        event = path == NULL || token == NULL ? NULL : PyTuple_Pack(2, path, token);
        Py_XDECREF(path);
        Py_XDECREF(token);
        added = event == NULL ? -1 : PyList_Append(events, event);
        Py_XDECREF(event);
        if (added < 0)
            goto failed;
        offset = end - bytes;
    }
    return Py_BuildValue("(Nn)", events, offset);

failed:
    Py_XDECREF(events);
    return NULL;
}

static PyMethodDef xsffi_shortcuts_functions[] = {
    {"receive", xsffi_receive_into, METH_VARARGS, "xsffi_receive into a list; what it ended with."},
    {"take_events", xsffi_take_events, METH_VARARGS, "take_events in xsffi/protocol/wire.py, in C."},
    {"take_replies", xsffi_take_replies, METH_VARARGS, "take_replies in xsffi/protocol/wire.py, in C."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef xsffi_shortcuts_module = {
    PyModuleDef_HEAD_INIT, "xsffi._shortcuts", NULL, -1, xsffi_shortcuts_functions, NULL, NULL, NULL, NULL,
};

static bool xsffi_add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);

    if (type != NULL && PyModule_AddObject(module, name, type) == 0)
        return true;
    Py_XDECREF(type);
    return false;
}

PyMODINIT_FUNC PyInit__shortcuts(void)
{
    PyObject *module = PyModule_Create(&xsffi_shortcuts_module);

    if (module == NULL)
        return NULL;
    if (xsffi_add_type(module, "Reading", &xsffi_reading_spec) && xsffi_add_type(module, "Reader", &xsffi_reader_spec) &&
        xsffi_add_type(module, "NativeTurns", &xsffi_turns_spec))
        return module;
    Py_DECREF(module);
    return NULL;
}

#endif
