/* Many lookups at once, over one or several connections: encoded, exchanged and decoded here.
 *
 * A batch is sent over each connection in turn. While the daemon answers one round of batches, the next one is already in
 * flight, and the previous one is decoded. No Python code runs between the first message and the last reply, except signal
 * handlers, at points where nothing is half done.
 */

#include "objects.h"

#include <stdlib.h>
#include <string.h>

#include "../plain.h"

/* Small enough that the replies to a batch, if of usual size, fit into a socket's buffer: once that is full, the daemon
 * stops working for this connection, and waits. */
#define BATCH_REQUESTS 32
#define BATCH_BYTES 32768
#define ROUNDS 2 /* batches in flight over each connection */
#define CONNECTIONS_MAX 16
#define TYPES_MAX 3
static const uint32_t TYPES[TYPES_MAX] = { READ, DIRECTORY, GET_PERMS };
#define PAYLOAD_MAX 4096 /* XENSTORE_PAYLOAD_MAX */

struct fetch {
    Py_ssize_t width; /* connections */
    struct connection_object *connections[CONNECTIONS_MAX];
    uint32_t kinds; /* how many of TYPES are requested for each path */
    uint32_t tx_id;
    PyObject *paths;
    PyObject *encoded;     /* the paths as bytes, in a list */
    PyObject *permissions; /* a dict: decoded replies to GET_PERMS */
    PyObject *node_type;   /* NULL: look up the values only */
    PyObject *outcomes;    /* one for each path */
    PyObject *undecoded;   /* their indices in the outcomes */
    Py_ssize_t next;       /* index of the next path to send */
    struct exchange *batches[ROUNDS * CONNECTIONS_MAX];
    Py_ssize_t first, last; /* numbers of the batches in flight, modulo the array and the connections */
};

/* The paths as bytes; those that are not plain go to `encode`, which raises if they break the rules. */
static PyObject *encode_paths(PyObject *paths, PyObject *encode)
{
    const Py_ssize_t count = PyTuple_Size(paths);
    PyObject *encoded = PyList_New(count);

    for (Py_ssize_t i = 0; encoded != NULL && i < count; i++) {
        PyObject *path = PyTuple_GetItem(paths, i), *each = xsffi_plain_path(path);

        if (each == NULL && !PyErr_Occurred())
            each = PyObject_CallFunctionObjArgs(encode, path, NULL);
        if (each != NULL && !PyBytes_CheckExact(each)) {
            Py_CLEAR(each);
            PyErr_SetString(PyExc_TypeError, "encode() must return bytes");
        } else if (each != NULL && PyBytes_Size(each) >= PAYLOAD_MAX) {
            Py_CLEAR(each);
            PyErr_SetString(PyExc_OverflowError, "a path is too long for a message");
        }
        if (each == NULL || PyList_SetItem(encoded, i, each) < 0)
            Py_CLEAR(encoded);
    }
    return encoded;
}

static struct connection_object *connection_of(const struct fetch *f, Py_ssize_t batch)
{
    return f->connections[batch % f->width];
}

static struct exchange **slot_of(struct fetch *f, Py_ssize_t batch)
{
    return &f->batches[batch % (ROUNDS * f->width)];
}

/* The requests for the next paths; NULL with an exception. */
static struct exchange *next_batch(struct fetch *f)
{
    const Py_ssize_t total = PyList_Size(f->encoded);
    Py_ssize_t end = f->next;
    struct exchange *x;
    uint32_t place = 0;
    size_t size = 0;

    while (end < total && (uint32_t)(end - f->next + 1) * f->kinds <= BATCH_REQUESTS && size < BATCH_BYTES)
        size += f->kinds * ((size_t)PyBytes_Size(PyList_GetItem(f->encoded, end++)) + 1);
    x = exchange_new((uint32_t)(end - f->next) * f->kinds, size);
    if (x == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (; f->next < end; f->next++) {
        PyObject *path = PyList_GetItem(f->encoded, f->next);

        for (uint32_t kind = 0; kind < f->kinds; kind++)
            exchange_add(x, place++, TYPES[kind], f->tx_id, PyBytes_AsString(path), (size_t)PyBytes_Size(path) + 1);
    }
    return x;
}

/* Puts as many batches in flight as allowed; false with an exception. */
static bool send_batches(struct fetch *f)
{
    const Py_ssize_t before = f->last, total = PyList_Size(f->encoded);

    while (f->last - f->first < ROUNDS * f->width && f->next < total) {
        struct exchange *x = next_batch(f);

        if (x == NULL)
            break;
        *slot_of(f, f->last++) = x;
    }
    Py_BEGIN_ALLOW_THREADS
    /* If the connection has ended, the wait reports it. */
    for (Py_ssize_t batch = before; batch < f->last; batch++)
        connection_send(&connection_of(f, batch)->c, *slot_of(f, batch));
    Py_END_ALLOW_THREADS
    return !PyErr_Occurred();
}

static PyObject *names(const char *payload, Py_ssize_t length)
{
    const char *end = payload + length;
    PyObject *list, *tuple;

    if (length == 0) /* as for most nodes */
        return PyTuple_New(0);
    list = PyList_New(0);
    while (list != NULL && payload < end) {
        const char *nul = memchr(payload, '\0', (size_t)(end - payload));
        const char *stop = nul != NULL ? nul : end;
        PyObject *name = PyUnicode_DecodeUTF8(payload, stop - payload, "surrogateescape");

        if (name == NULL || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
        payload = stop + 1;
    }
    tuple = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

/* Whether a list of children has an invalid name. */
static bool is_strange(const char *payload, size_t length)
{
    if (length == 0)
        return false;
    if (payload[0] == '\0' || memchr(payload, '/', length) != NULL)
        return true;
    for (size_t i = 1; i < length; i++)
        if (payload[i] == '\0' && payload[i - 1] == '\0')
            return true;
    return false;
}

/* The decoded reply, if it can be decoded here; otherwise NULL, with an exception only if memory runs out. */
static PyObject *decode(struct fetch *f, struct exchange *x, uint32_t place)
{
    const struct reply *reply = &x->replies[place];
    PyObject *payload, *known;

    if (reply->type != x->types[place])
        return NULL;
    if (reply->type == DIRECTORY)
        return is_strange(reply->payload, reply->length) ? NULL : names(reply->payload, reply->length);
    payload = PyBytes_FromStringAndSize(reply->payload, reply->length);
    if (payload == NULL || reply->type == READ)
        return payload;
    known = PyDict_GetItemWithError(f->permissions, payload);
    Py_XINCREF(known);
    Py_DECREF(payload);
    return known;
}

/* The raw replies from this index on, for Python to decode. */
static PyObject *raw_replies(struct fetch *f, struct exchange *x, uint32_t place)
{
    PyObject *replies = PyTuple_New(f->kinds);

    for (uint32_t kind = 0; replies != NULL && kind < f->kinds; kind++) {
        PyObject *reply = reply_object(x, place + kind);

        if (reply == NULL || PyTuple_SetItem(replies, kind, reply) < 0)
            Py_CLEAR(replies);
    }
    return replies;
}

/* The outcome for the node whose replies start at this index: its value alone, or the node. NULL if a reply cannot be
 * decoded here, with an exception only if memory runs out. */
static PyObject *outcome_of(struct fetch *f, struct exchange *x, uint32_t place, PyObject *path)
{
    PyObject *fields, *node;

    if (f->node_type == NULL)
        return decode(f, x, place);
    fields = PyTuple_New(1 + TYPES_MAX);
    if (fields == NULL)
        return NULL;
    Py_INCREF(path);
    PyTuple_SetItem(fields, 0, path);
    for (uint32_t kind = 0; kind < TYPES_MAX; kind++) {
        PyObject *field = decode(f, x, place + kind);

        if (field == NULL) {
            Py_DECREF(fields);
            return NULL;
        }
        PyTuple_SetItem(fields, 1 + kind, field);
    }
    /* tuple's own __new__, since a named tuple's is a Python function. */
    node = PyObject_CallFunctionObjArgs(f->connections[0]->tuple_new, f->node_type, fields, NULL);
    Py_DECREF(fields);
    return node;
}

static bool append_outcomes(struct fetch *f, struct exchange *x)
{
    for (uint32_t place = 0; place < x->count; place += f->kinds) {
        const Py_ssize_t number = PyList_Size(f->outcomes);
        PyObject *outcome = outcome_of(f, x, place, PyTuple_GetItem(f->paths, number)), *at;
        int failed;

        if (outcome == NULL && PyErr_Occurred())
            return false;
        if (outcome == NULL) {
            outcome = raw_replies(f, x, place);
            at = PyLong_FromSsize_t(number);
            failed = at == NULL ? -1 : PyList_Append(f->undecoded, at);
            Py_XDECREF(at);
            if (failed < 0)
                Py_CLEAR(outcome);
        }
        failed = outcome == NULL ? -1 : PyList_Append(f->outcomes, outcome);
        Py_XDECREF(outcome);
        if (failed < 0)
            return false;
    }
    return true;
}

/* Waits for a batch of each connection, and decodes them; false with an exception. */
static bool take_round(struct fetch *f)
{
    const Py_ssize_t end = f->last - f->first < f->width ? f->last : f->first + f->width;

    for (Py_ssize_t batch = f->first; batch < end; batch++)
        if (!await_replies(connection_of(f, batch), *slot_of(f, batch), false, connection_of(f, batch)->timeout))
            return false;
    /* A signal that arrived while nobody slept has not ended a sleep. */
    if (PyErr_CheckSignals() < 0)
        return false;
    for (; f->first < end; f->first++) {
        if (!append_outcomes(f, *slot_of(f, f->first)))
            return false;
        exchange_free(*slot_of(f, f->first));
    }
    return true;
}

static bool run(struct fetch *f)
{
    do {
        if (!send_batches(f) || !take_round(f))
            break;
    } while (f->first < f->last || f->next < PyList_Size(f->encoded));
    for (; f->first < f->last; f->first++)
        connection_abandon(&connection_of(f, f->first)->c, *slot_of(f, f->first));
    return !PyErr_Occurred();
}

/* The C connections of the objects in the tuple; false with an exception. */
static bool take_connections(struct fetch *f, PyObject *self, PyObject *others)
{
    f->width = 1 + PyTuple_Size(others);
    if (f->width > CONNECTIONS_MAX) {
        PyErr_Format(PyExc_ValueError, "at most %d connections", CONNECTIONS_MAX);
        return false;
    }
    for (Py_ssize_t i = 0; i < f->width; i++) {
        PyObject *connection = i == 0 ? self : PyTuple_GetItem(others, i - 1);

        if (Py_TYPE(connection) != Py_TYPE(self)) {
            PyErr_SetString(PyExc_TypeError, "the connections must be connections in C");
            return false;
        }
        f->connections[i] = (struct connection_object *)connection;
    }
    return true;
}

/* False with an exception. */
static bool take_node_type(struct fetch *f, PyObject *node_type)
{
    f->kinds = 1; /* READ */
    if (node_type == Py_None)
        return true;
    if (!PyType_Check(node_type) || !PyType_IsSubtype((PyTypeObject *)node_type, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "the type of nodes must be a named tuple");
        return false;
    }
    f->node_type = node_type;
    f->kinds = TYPES_MAX;
    return true;
}

PyObject *connection_fetch(PyObject *self, PyObject *args)
{
    PyObject *others, *encode, *node_type;
    struct fetch f = { 0 };
    PyObject *result = NULL;
    unsigned long tx_id;

    if (!PyArg_ParseTuple(args, "O!O!kOOO!", &PyTuple_Type, &others, &PyTuple_Type, &f.paths, &tx_id, &encode, &node_type,
                          &PyDict_Type, &f.permissions) ||
        !take_connections(&f, self, others) || !take_node_type(&f, node_type))
        return NULL;
    f.tx_id = (uint32_t)tx_id;
    f.encoded = encode_paths(f.paths, encode);
    f.outcomes = PyList_New(0);
    f.undecoded = PyList_New(0);
    if (f.encoded != NULL && f.outcomes != NULL && f.undecoded != NULL) {
        for (Py_ssize_t i = 0; i < f.width; i++)
            connection_enter(&f.connections[i]->c);
        if (run(&f))
            result = PyTuple_Pack(2, f.outcomes, f.undecoded);
        for (Py_ssize_t i = 0; i < f.width; i++)
            connection_leave(&f.connections[i]->c);
    }
    Py_XDECREF(f.encoded);
    Py_XDECREF(f.outcomes);
    Py_XDECREF(f.undecoded);
    return result;
}
