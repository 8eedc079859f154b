/* The module xsffi._wire: connections in C for Python; see the protocol Connection in xsffi/backends/wire/native.py.
 *
 * The GIL is released while a thread sleeps. Python's signal handlers run only in PyErr_CheckSignals, between two sleeps:
 * no lock is held then, and replies are stored where any reader, including the handler, can complete them. The same holds
 * for finalizers that run when an object is allocated here.
 */

#include "objects.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../plain.h"

struct module {
    PyObject *connection_type;
    PyObject *exchange_type;
    PyObject *events_type;
};

struct exchange_object {
    PyObject_HEAD
    struct connection_object *connection;
    struct exchange *x; /* NULL once its replies were taken */
};

struct events_object {
    PyObject_HEAD
    struct connection_object *connection;
    struct queue *queue;
};

static PyObject *allocate(PyObject *type)
{
    return ((allocfunc)PyType_GetSlot((PyTypeObject *)type, Py_tp_alloc))((PyTypeObject *)type, 0);
}

static void deallocate(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *refuse_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    (void)type, (void)args, (void)keywords;
    PyErr_SetString(PyExc_TypeError, "it can only be created by open()");
    return NULL;
}

PyObject *raise_outcome(struct connection_object *self, enum outcome outcome, int error)
{
    const char *what = "lost";
    char text[TEXT_MAX + 32] = "";
    PyObject *exception;

    if (outcome == NO_MEMORY)
        return PyErr_NoMemory();
    if (outcome == TIMED_OUT) {
        what = "timeout";
    } else if (outcome == FAILED) {
        what = "failed";
    } else {
        connection_lock(&self->c);
        error = self->c.error;
        if (self->c.state == CLOSED)
            what = "closed";
        else if (self->c.state == FORKED)
            what = "forked";
        else if (self->c.to_tell)
            what = "protocol";
        if (self->c.text[0])
            PyOS_snprintf(text, sizeof text, "%s%s", self->c.to_tell ? "" : "it was closed: ", self->c.text);
        self->c.to_tell = false;
        pthread_mutex_unlock(&self->c.lock);
    }
    /* Text quoted from the other end may be anything. */
    exception = PyObject_CallFunction(self->explain, "sNi", what,
                                      PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace"), error);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return NULL;
}

/* A deadline from a timeout in seconds, or None; false with an exception. */
static bool parse_timeout(PyObject *timeout, int64_t *nanoseconds)
{
    double seconds;

    *nanoseconds = -1;
    if (timeout == Py_None)
        return true;
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return false;
    if (seconds < 1e9)
        *nanoseconds = seconds > 0 ? (int64_t)(seconds * 1e9) : 0;
    return true;
}

static int64_t deadline_after(int64_t nanoseconds)
{
    return nanoseconds < 0 ? -1 : xsffi_now() + nanoseconds;
}

/* Requests. */

/* False with an exception: the caller still owns the exchange. */
bool await_replies(struct connection_object *self, struct exchange *x, bool send, int64_t timeout)
{
    int64_t deadline = deadline_after(timeout);
    enum outcome outcome = DONE;

    for (;;) {
        Py_BEGIN_ALLOW_THREADS
        if (send)
            outcome = connection_send(&self->c, x);
        if (outcome == DONE)
            outcome = connection_wait(&self->c, x, deadline);
        Py_END_ALLOW_THREADS
        if (outcome == DONE)
            return true;
        send = false;
        if (outcome != SIGNAL || PyErr_CheckSignals() < 0)
            break;
        outcome = DONE;
    }
    if (outcome != SIGNAL)
        raise_outcome(self, outcome, 0);
    return false;
}

PyObject *reply_object(struct exchange *x, uint32_t place)
{
    struct reply *reply = &x->replies[place];
    PyObject *payload = PyBytes_FromStringAndSize(reply->payload, reply->length);

    if (payload == NULL || reply->type == x->types[place])
        return payload;
    return Py_BuildValue("(kN)", (unsigned long)reply->type, payload);
}

static PyObject *carry(struct connection_object *self, uint32_t type, uint32_t tx_id, const char *payload, size_t length)
{
    struct exchange *x = exchange_new(1, length);
    PyObject *reply = NULL;

    if (x == NULL)
        return PyErr_NoMemory();
    exchange_add(x, 0, type, tx_id, payload, length);
    connection_enter(&self->c);
    if (await_replies(self, x, true, self->timeout)) {
        reply = reply_object(x, 0);
        exchange_free(x);
    } else {
        connection_abandon(&self->c, x);
    }
    connection_leave(&self->c);
    return reply;
}

static PyObject *connection_read(PyObject *self, PyObject *path)
{
    PyObject *encoded = xsffi_plain_path(path), *reply;

    if (encoded == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    /* With the NUL that terminates every bytes object. */
    reply = carry((struct connection_object *)self, READ, 0, PyBytes_AsString(encoded), (size_t)PyBytes_Size(encoded) + 1);
    Py_DECREF(encoded);
    return reply;
}

static bool is_too_long(Py_ssize_t length)
{
    if (length <= (Py_ssize_t)REPLY_MAX)
        return false;
    PyErr_SetString(PyExc_ValueError, "a message is too long");
    return true;
}

static PyObject *connection_carry(PyObject *self, PyObject *args)
{
    unsigned long type, tx_id = 0;
    PyObject *payload;

    if (!PyArg_ParseTuple(args, "kS|k", &type, &payload, &tx_id) || is_too_long(PyBytes_Size(payload)))
        return NULL;
    return carry((struct connection_object *)self, (uint32_t)type, (uint32_t)tx_id, PyBytes_AsString(payload),
                 (size_t)PyBytes_Size(payload));
}

static PyObject *connection_post_one(PyObject *self, PyObject *args)
{
    unsigned long type, tx_id = 0;
    PyObject *payload;

    if (!PyArg_ParseTuple(args, "kS|k", &type, &payload, &tx_id) || is_too_long(PyBytes_Size(payload)))
        return NULL;
    connection_enter(&((struct connection_object *)self)->c);
    connection_post(&((struct connection_object *)self)->c, (uint32_t)type, (uint32_t)tx_id, PyBytes_AsString(payload),
                    (size_t)PyBytes_Size(payload));
    connection_leave(&((struct connection_object *)self)->c);
    Py_RETURN_NONE;
}

/* Type and payload of a message that is a tuple of the two; false with an exception. */
static bool parse_message(PyObject *messages, Py_ssize_t place, unsigned long *type, PyObject **payload)
{
    PyObject *message = PyTuple_GetItem(messages, place);

    if (message == NULL)
        return false;
    if (!PyTuple_Check(message)) {
        PyErr_SetString(PyExc_TypeError, "a message must be a tuple of its type and its payload");
        return false;
    }
    return PyArg_ParseTuple(message, "kS", type, payload) && !is_too_long(PyBytes_Size(*payload));
}

/* The messages, a tuple of tuples, as an exchange; NULL with an exception. */
static struct exchange *make_exchange(PyObject *messages, uint32_t tx_id)
{
    const Py_ssize_t count = PyTuple_Size(messages);
    struct exchange *x = NULL;
    unsigned long type;
    PyObject *payload;
    size_t size = 0;

    for (Py_ssize_t i = 0; i < count; i++) {
        if (!parse_message(messages, i, &type, &payload))
            return NULL;
        size += (size_t)PyBytes_Size(payload);
        if (is_too_long((Py_ssize_t)size))
            return NULL;
    }
    if (count <= UINT16_MAX)
        x = exchange_new((uint32_t)count, size);
    if (x == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!parse_message(messages, i, &type, &payload)) {
            exchange_free(x);
            return NULL;
        }
        exchange_add(x, (uint32_t)i, (uint32_t)type, tx_id, PyBytes_AsString(payload), (size_t)PyBytes_Size(payload));
    }
    return x;
}

static PyObject *connection_send_many(PyObject *object, PyObject *args)
{
    struct connection_object *self = (struct connection_object *)object;
    struct exchange_object *exchange;
    unsigned long tx_id = 0;
    enum outcome outcome;
    PyObject *messages;

    if (!PyArg_ParseTuple(args, "O!|k", &PyList_Type, &messages, &tx_id))
        return NULL;
    exchange = (struct exchange_object *)allocate(self->exchange_type);
    if (exchange == NULL)
        return NULL;
    Py_INCREF(self);
    exchange->connection = self;
    messages = PyList_AsTuple(messages); /* a copy that nobody can change meanwhile */
    if (messages != NULL) {
        exchange->x = make_exchange(messages, (uint32_t)tx_id);
        Py_DECREF(messages);
    }
    if (exchange->x == NULL) {
        Py_DECREF(exchange);
        return NULL;
    }
    connection_enter(&self->c);
    Py_BEGIN_ALLOW_THREADS
    outcome = connection_send(&self->c, exchange->x);
    Py_END_ALLOW_THREADS
    connection_leave(&self->c);
    if (outcome != DONE) {
        Py_DECREF(exchange);
        return raise_outcome(self, outcome, 0);
    }
    return (PyObject *)exchange;
}

/* Takes the exchange out of its object; NULL with an exception. */
static struct exchange *take_exchange(struct connection_object *self, PyObject *object)
{
    struct exchange_object *exchange = (struct exchange_object *)object;
    struct exchange *x;

    if ((PyObject *)Py_TYPE(object) != self->exchange_type || exchange->connection != self) {
        PyErr_SetString(PyExc_TypeError, "the argument must be the result of this connection's send_many()");
        return NULL;
    }
    x = exchange->x;
    exchange->x = NULL;
    if (x == NULL)
        PyErr_SetString(PyExc_ValueError, "its replies were already taken");
    return x;
}

static PyObject *connection_replies(PyObject *object, PyObject *args)
{
    struct connection_object *self = (struct connection_object *)object;
    PyObject *exchange, *within = Py_None, *replies = NULL;
    struct exchange *x;
    int64_t timeout;

    if (!PyArg_ParseTuple(args, "O|O", &exchange, &within) || !parse_timeout(within, &timeout))
        return NULL;
    if (timeout < 0 || (self->timeout >= 0 && self->timeout < timeout))
        timeout = self->timeout;
    x = take_exchange(self, exchange);
    if (x == NULL)
        return NULL;
    connection_enter(&self->c);
    if (await_replies(self, x, false, timeout)) {
        replies = PyList_New((Py_ssize_t)x->count);
        for (uint32_t i = 0; i < x->count && replies != NULL; i++) {
            PyObject *reply = reply_object(x, i);

            if (reply == NULL || PyList_SetItem(replies, (Py_ssize_t)i, reply) < 0)
                Py_CLEAR(replies);
        }
        exchange_free(x);
    } else {
        connection_abandon(&self->c, x);
    }
    connection_leave(&self->c);
    return replies;
}

static PyObject *connection_forget(PyObject *object, PyObject *exchange)
{
    struct connection_object *self = (struct connection_object *)object;
    struct exchange *x = take_exchange(self, exchange);

    if (x != NULL)
        connection_abandon(&self->c, x);
    else if (PyErr_ExceptionMatches(PyExc_ValueError))
        PyErr_Clear();
    else
        return NULL;
    Py_RETURN_NONE;
}

static void exchange_dealloc(PyObject *object)
{
    struct exchange_object *exchange = (struct exchange_object *)object;

    if (exchange->x != NULL)
        connection_abandon(&exchange->connection->c, exchange->x);
    Py_XDECREF(exchange->connection);
    deallocate(object);
}

/* Events. */

static PyObject *connection_events(PyObject *object, PyObject *args)
{
    struct connection_object *self = (struct connection_object *)object;
    struct events_object *events;
    enum outcome outcome;
    const char *prefix;
    Py_ssize_t length;
    Py_ssize_t limit = 0;
    int error;

    if (!PyArg_ParseTuple(args, "s#|n", &prefix, &length, &limit))
        return NULL;
    if (limit < 0) {
        PyErr_SetString(PyExc_ValueError, "the limit must not be negative");
        return NULL;
    }
    if (length > PREFIX_MAX || (length > 0 && prefix[length - 1] != ':')) {
        PyErr_Format(PyExc_ValueError, "a prefix must end with a colon, and have at most %d characters", PREFIX_MAX);
        return NULL;
    }
    events = (struct events_object *)allocate(self->events_type);
    if (events == NULL)
        return NULL;
    Py_INCREF(self);
    events->connection = self;
    connection_enter(&self->c);
    events->queue = connection_queue(&self->c, prefix, (size_t)length, (size_t)limit, &outcome);
    error = errno;
    connection_leave(&self->c);
    if (events->queue != NULL)
        return (PyObject *)events;
    Py_DECREF(events);
    return raise_outcome(self, outcome, error);
}

static void events_dealloc(PyObject *object)
{
    struct events_object *events = (struct events_object *)object;

    if (events->queue != NULL)
        queue_free(&events->connection->c, events->queue);
    Py_XDECREF(events->connection);
    deallocate(object);
}

static PyObject *events_new_token(PyObject *object, PyObject *nothing)
{
    struct events_object *events = (struct events_object *)object;
    char token[PREFIX_MAX + 24];
    int length;

    (void)nothing;
    length = PyOS_snprintf(token, sizeof token, "%.*s%llx", (int)events->queue->prefix_length, events->queue->prefix,
                           (unsigned long long)connection_number(&events->connection->c));
    return PyBytes_FromStringAndSize(token, length);
}

static PyObject *event_object(struct connection_object *self, const struct event *event)
{
    const char *token = event->text + event->path_length;

    /* tuple's own __new__, since a named tuple's is a Python function. */
    return PyObject_CallFunction(self->tuple_new, "O(NN)", self->event_type,
                                 PyUnicode_DecodeUTF8(event->text, event->path_length, "surrogateescape"),
                                 PyUnicode_DecodeUTF8(token, event->token_length, "surrogateescape"));
}

static PyObject *events_next_event(PyObject *object, PyObject *timeout)
{
    struct events_object *events = (struct events_object *)object;
    struct connection_object *self = events->connection;
    PyObject *result = NULL;
    enum outcome outcome;
    struct event *event;
    int64_t deadline;

    if (!parse_timeout(timeout, &deadline))
        return NULL;
    connection_enter(&self->c);
    if (deadline == 0) {
        outcome = queue_next(&self->c, events->queue, 0, &event);
    } else {
        deadline = deadline_after(deadline);
        do {
            Py_BEGIN_ALLOW_THREADS
            outcome = queue_next(&self->c, events->queue, deadline, &event);
            Py_END_ALLOW_THREADS
        } while (outcome == SIGNAL && PyErr_CheckSignals() == 0);
    }
    if (outcome == DONE) {
        result = event_object(self, event);
        if (result != NULL)
            free(event);
        else
            queue_put_back(&self->c, events->queue, event);
    } else if (outcome == TIMED_OUT || outcome == WOKEN) {
        Py_INCREF(Py_None);
        result = Py_None;
    } else if (outcome != SIGNAL) {
        raise_outcome(self, outcome, 0);
    }
    connection_leave(&self->c);
    return result;
}

static PyObject *events_put_back(PyObject *object, PyObject *pair)
{
    struct events_object *events = (struct events_object *)object;
    PyObject *paths, *tokens = NULL;
    struct event *event = NULL;

    if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "an event must be a tuple of its path and its token");
        return NULL;
    }
    paths = PyUnicode_AsEncodedString(PyTuple_GetItem(pair, 0), "utf-8", "surrogateescape");
    if (paths != NULL)
        tokens = PyUnicode_AsEncodedString(PyTuple_GetItem(pair, 1), "utf-8", "surrogateescape");
    if (tokens != NULL) {
        const size_t path_length = (size_t)PyBytes_Size(paths), token_length = (size_t)PyBytes_Size(tokens);

        event = malloc(sizeof *event + path_length + token_length);
        if (event != NULL) {
            event->path_length = (uint32_t)path_length;
            event->token_length = (uint32_t)token_length;
            memcpy(event->text, PyBytes_AsString(paths), path_length);
            memcpy(event->text + path_length, PyBytes_AsString(tokens), token_length);
            queue_put_back(&events->connection->c, events->queue, event);
        } else {
            PyErr_NoMemory();
        }
    }
    Py_XDECREF(paths);
    Py_XDECREF(tokens);
    if (event == NULL)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *events_drop(PyObject *object, PyObject *args)
{
    struct events_object *events = (struct events_object *)object;
    const char *token;
    Py_ssize_t length;

    if (!PyArg_ParseTuple(args, "y#", &token, &length))
        return NULL;
    connection_enter(&events->connection->c);
    queue_drop(&events->connection->c, events->queue, token, (size_t)length);
    connection_leave(&events->connection->c);
    Py_RETURN_NONE;
}

static PyObject *events_wake(PyObject *object, PyObject *nothing)
{
    struct events_object *events = (struct events_object *)object;

    (void)nothing;
    connection_enter(&events->connection->c);
    queue_wake(&events->connection->c, events->queue);
    connection_leave(&events->connection->c);
    Py_RETURN_NONE;
}

static PyObject *events_fileno(PyObject *object, PyObject *nothing)
{
    struct events_object *events = (struct events_object *)object;
    enum outcome outcome;
    int fd, error;

    (void)nothing;
    outcome = queue_fileno(&events->connection->c, events->queue, &fd);
    error = errno;
    return outcome == DONE ? PyLong_FromLong(fd) : raise_outcome(events->connection, outcome, error);
}

static PyObject *events_close(PyObject *object, PyObject *nothing)
{
    struct events_object *events = (struct events_object *)object;

    (void)nothing;
    queue_close(&events->connection->c, events->queue);
    Py_RETURN_NONE;
}

/* The connection. */

static PyObject *connection_close_it(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    connection_close(&((struct connection_object *)self)->c);
    Py_RETURN_NONE;
}

static PyObject *connection_after_fork(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    connection_fork(&((struct connection_object *)self)->c);
    Py_RETURN_NONE;
}

static void connection_dealloc(PyObject *object)
{
    struct connection_object *self = (struct connection_object *)object;

    if (self->is_made)
        connection_destroy(&self->c);
    Py_XDECREF(self->explain);
    Py_XDECREF(self->event_type);
    Py_XDECREF(self->tuple_new);
    Py_XDECREF(self->exchange_type);
    Py_XDECREF(self->events_type);
    deallocate(object);
}

static PyObject *module_open(PyObject *module, PyObject *args)
{
    struct module *state = PyModule_GetState(module);
    PyObject *timeout, *explain, *event_type;
    struct connection_object *self;
    double spin, longest;
    int fd, error;

    if (!PyArg_ParseTuple(args, "iOddOO", &fd, &timeout, &spin, &longest, &explain, &event_type))
        return NULL;
    self = (struct connection_object *)allocate(state->connection_type);
    if (self == NULL)
        return NULL;
    Py_INCREF(explain);
    self->explain = explain;
    Py_INCREF(event_type);
    self->event_type = event_type;
    Py_INCREF(state->exchange_type);
    self->exchange_type = state->exchange_type;
    Py_INCREF(state->events_type);
    self->events_type = state->events_type;
    self->tuple_new = PyObject_GetAttrString((PyObject *)&PyTuple_Type, "__new__");
    if (self->tuple_new == NULL || !parse_timeout(timeout, &self->timeout)) {
        Py_DECREF(self);
        return NULL;
    }
    error = connection_init(&self->c, fd, (int64_t)(spin * 1e9), (int64_t)(longest * 1e9));
    if (error != 0) {
        raise_outcome(self, FAILED, error);
        Py_DECREF(self);
        return NULL;
    }
    self->is_made = true;
    return (PyObject *)self;
}

static PyMethodDef connection_methods[] = {
    {"read", connection_read, METH_O, "read(path): the reply to READ; None if the path needs a closer look first."},
    {"carry", connection_carry, METH_VARARGS, "carry(type, payload, tx_id=0): send a request, and wait for its reply."},
    {"post", connection_post_one, METH_VARARGS, "post(type, payload, tx_id=0): send a request whose reply is ignored."},
    {"send_many", connection_send_many, METH_VARARGS, "send_many(messages, tx_id=0): send; returns what replies() takes."},
    {"replies", connection_replies, METH_VARARGS,
     "replies(exchange, within=None): wait for the replies, this many seconds if that is less than the timeout."},
    {"forget", connection_forget, METH_O, "forget(exchange): ignore the replies."},
    {"fetch", connection_fetch, METH_VARARGS,
     "fetch(others, paths, tx_id, encode, node_type, permissions): many nodes, or their values alone."},
    {"events", connection_events, METH_VARARGS, "events(prefix, limit=0): a new queue of at most so many events (0: no limit)."},
    {"close", connection_close_it, METH_NOARGS, "close(): close the connection, and wake all waiters."},
    {"after_fork_in_child", connection_after_fork, METH_NOARGS, "after_fork_in_child(): disable it in a child."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, "A connection to the daemon's socket."},
    {Py_tp_new, refuse_new},
    {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, connection_methods},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    "xsffi._wire.Connection", sizeof(struct connection_object), 0, Py_TPFLAGS_DEFAULT, connection_slots,
};

static PyType_Slot exchange_slots[] = {
    {Py_tp_doc, "Requests in flight."},
    {Py_tp_new, refuse_new},
    {Py_tp_dealloc, exchange_dealloc},
    {0, NULL},
};

static PyType_Spec exchange_spec = {
    "xsffi._wire.Exchange", sizeof(struct exchange_object), 0, Py_TPFLAGS_DEFAULT, exchange_slots,
};

static PyMethodDef events_methods[] = {
    {"new_token", events_new_token, METH_NOARGS, "new_token(): a token that no watch of the connection has had."},
    {"next_event", events_next_event, METH_O, "next_event(timeout): the next event, or None."},
    {"put_back", events_put_back, METH_O, "put_back(event): make this the next event."},
    {"drop", events_drop, METH_VARARGS, "drop(token): discard the events of a watch that was removed."},
    {"wake", events_wake, METH_NOARGS, "wake(): end the wait of next_event(), or the next one."},
    {"fileno", events_fileno, METH_NOARGS, "fileno(): readable whenever next_event() would return an event or raise."},
    {"close", events_close, METH_NOARGS, "close(): discard pending and future events."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot events_slots[] = {
    {Py_tp_doc, "A queue of events."},
    {Py_tp_new, refuse_new},
    {Py_tp_dealloc, events_dealloc},
    {Py_tp_methods, events_methods},
    {0, NULL},
};

static PyType_Spec events_spec = {
    "xsffi._wire.Events", sizeof(struct events_object), 0, Py_TPFLAGS_DEFAULT, events_slots,
};

static PyMethodDef module_functions[] = {
    {"open", module_open, METH_VARARGS,
     "open(descriptor, timeout, spin, longest, explain, event_type): a connection over a connected, non-blocking socket."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    struct module *state = PyModule_GetState(module);

    connection_setup();
    state->connection_type = PyType_FromSpec(&connection_spec);
    state->exchange_type = PyType_FromSpec(&exchange_spec);
    state->events_type = PyType_FromSpec(&events_spec);
    return state->connection_type == NULL || state->exchange_type == NULL || state->events_type == NULL ? -1 : 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct module *state = PyModule_GetState(module);

    Py_VISIT(state->connection_type);
    Py_VISIT(state->exchange_type);
    Py_VISIT(state->events_type);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct module *state = PyModule_GetState(module);

    Py_CLEAR(state->connection_type);
    Py_CLEAR(state->exchange_type);
    Py_CLEAR(state->events_type);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
    {0, NULL},
};

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, "xsffi._wire", "The wire's connection in C.", sizeof(struct module), module_functions,
    module_slots, module_traverse, module_clear, NULL,
};

PyMODINIT_FUNC PyInit__wire(void)
{
    return PyModuleDef_Init(&module_definition);
}
