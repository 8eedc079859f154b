/* Whose turn it is on the daemon's socket, and a request that is carried without a step of Python, where nobody else
 * waits for anything: xsffi/backends/turns.py says what it is to do, and does the same in Python.
 *
 * Python looks at `leader`, `over`, `changing`, `spares` and `followers`, and changes them, with the GIL held; so what is done here
 * with the GIL held is one step: to look whether nobody is in the way, and to send. Several threads may want to carry a
 * request each: they take turns by a mutex, which is only ever waited for without the GIL.
 */

#ifndef PYPY_VERSION

#include <pthread.h>
#include <structmember.h>

#define XSFFI_PATIENCE 50000000 /* how long to wait for a turn, in nanoseconds, before Python looks about itself */
#define XSFFI_LONGEST INT64_C(500000000) /* and for a reply: one_wait() in xsffi/backends/bell.py says why */
#define XSFFI_USUAL_REPLY 4096

/* A clock that is set back must not make a wait longer. */
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 30)
#define XSFFI_TURN_CLOCK CLOCK_MONOTONIC
#define xsffi_lock_until(mutex, until) pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, until)
#else
#define XSFFI_TURN_CLOCK CLOCK_REALTIME
#define xsffi_lock_until(mutex, until) pthread_mutex_timedlock(mutex, until)
#endif

enum xsffi_outcome {
    XSFFI_CALL_DONE, /* the reply is there */
    XSFFI_CALL_SENT, /* something else came than the reply alone: that is held for xsffi_receive */
};

struct xsffi_turns {
    PyObject_HEAD
    PyObject *leader;
    PyObject *over;
    char changing;
    PyObject *spares;
    PyObject *followers;
    PyObject *incoming;
    PyObject *outgoing;
    PyObject *alone;
    PyObject *lock_acquire;
    PyObject *lock_release;
    PyObject *owner; /* of the stream and the buffer */
    struct xsffi_stream *stream;
    char *buffer;
    int capacity;
    int inside;  /* how many threads carry a request each: one has sent it, others may be on their way out */
    int waiting; /* and how many wait for their turn */
    pthread_mutex_t turn;
    PyObject *at_once;
    PyObject *req_id;
};

struct xsffi_message {
    uint32_t header[4];
    char payload[XSFFI_PAYLOAD_MAX];
};

struct xsffi_reply {
    uint32_t type;
    uint32_t length;
    char *payload;
    char usual[XSFFI_USUAL_REPLY];
};

/* Receives the reply to what was sent. */
static enum xsffi_outcome xsffi_await(struct xsffi_turns *self, uint32_t req_id, struct xsffi_reply *reply, int64_t timeout)
{
    struct xsffi_stream *s = self->stream;
    uint32_t header[4];
    int have;

    have = xsffi_receive(s, self->buffer, self->capacity, 1, 0, timeout);
    if (have >= XSFFI_HEADER_SIZE && s->status == XSFFI_STREAM_OPEN) {
        memcpy(header, self->buffer, sizeof header);
        if (header[1] == req_id && header[0] != XSFFI_WATCH_EVENT &&
            (uint64_t)have == sizeof header + (uint64_t)header[3]) {
            reply->payload = header[3] <= sizeof reply->usual ? reply->usual : malloc(header[3]);
            if (reply->payload != NULL) {
                reply->type = header[0];
                reply->length = header[3];
                memcpy(reply->payload, self->buffer + sizeof header, header[3]);
                return XSFFI_CALL_DONE;
            }
        }
    }
    s->held = have;
    return XSFFI_CALL_SENT;
}

/* Waits for this thread's turn, without the GIL; false where it did not come in time. */
static bool xsffi_wait_for_turn(struct xsffi_turns *self, int64_t timeout)
{
    const int64_t patience = timeout >= 0 && timeout < XSFFI_PATIENCE ? timeout : XSFFI_PATIENCE;
    struct timespec until;

    clock_gettime(XSFFI_TURN_CLOCK, &until);
    until.tv_nsec += patience;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return xsffi_lock_until(&self->turn, &until) == 0;
}

static bool xsffi_is_something(PyObject *member)
{
    return member != NULL && member != Py_None;
}

/* Whether nobody leads but those who carry a request each, and nothing is held for who leads next, and no other thread is
 * in the middle of a step; -1: an exception. */
static int xsffi_is_free(struct xsffi_turns *self)
{
    PyObject *free, *released;
    int is_free;

    if (xsffi_is_something(self->over) || self->changing || self->stream->held)
        return 0;
    if (xsffi_is_something(self->leader) && self->leader != self->alone)
        return 0;
    free = PyObject_Call(self->lock_acquire, self->at_once, NULL);
    if (free == NULL)
        return -1;
    is_free = free == Py_True;
    Py_DECREF(free);
    if (is_free) {
        released = PyObject_CallObject(self->lock_release, NULL);
        if (released == NULL)
            return -1;
        Py_DECREF(released);
    }
    return is_free;
}

/* The last of the spares, taken from them, and its id; NULL: an exception. */
static PyObject *xsffi_take_spare(struct xsffi_turns *self, uint32_t *req_id)
{
    Py_ssize_t last = PyList_Size(self->spares) - 1;
    PyObject *spare = PyList_GetItem(self->spares, last), *number;

    if (spare == NULL)
        return NULL;
    Py_INCREF(spare);
    number = PyObject_GetAttr(spare, self->req_id);
    if (number != NULL) {
        *req_id = (uint32_t)PyLong_AsUnsignedLong(number);
        Py_DECREF(number);
    }
    if (number == NULL || PyErr_Occurred() || PyList_SetSlice(self->spares, last, last + 1, NULL) < 0) {
        Py_DECREF(spare);
        return NULL;
    }
    return spare;
}

/* Puts it back among them, for the next one; false: an exception. */
static bool xsffi_give_back(struct xsffi_turns *self, PyObject *spare)
{
    int added = PyList_Append(self->spares, spare);

    Py_DECREF(spare);
    return added == 0;
}

static PyObject *xsffi_bytes_or_pair(struct xsffi_turns *self, uint32_t type, struct xsffi_reply *reply)
{
    PyObject *payload = PyBytes_FromStringAndSize(reply->payload, reply->length), *pair;

    if (reply->payload != reply->usual)
        free(reply->payload);
    if (payload == NULL)
        return NULL;
    if (reply->type == type &&
        (xsffi_is_something(self->leader) || !(xsffi_is_something(self->over) || PyObject_Size(self->followers) > 0)))
        return payload;
    pair = Py_BuildValue("(kN)", (unsigned long)reply->type, payload);
    return pair;
}

/* Has it be this thread's turn, with nobody in the way: 1, and 0 where that is not to be had, -1 with an exception. Takes
 * what it waited off the timeout. */
static int xsffi_take_turn(struct xsffi_turns *self, int64_t *timeout)
{
    bool has_turn = false;

    for (;;) {
        const int64_t begin = has_turn || *timeout < 0 ? 0 : xsffi_now();
        int is_free = xsffi_is_free(self);

        if (is_free == 1 && (PyList_Size(self->spares) == 0 || PyList_Size(self->incoming) != 0 ||
                             PyObject_Size(self->outgoing) != 0))
            is_free = 0;
        if (is_free != 1) {
            if (has_turn)
                pthread_mutex_unlock(&self->turn);
            return is_free;
        }
        if (has_turn || pthread_mutex_trylock(&self->turn) == 0)
            return 1;
        /* All is to be looked at again afterwards: others did what they liked meanwhile. */
        self->waiting++;
        Py_BEGIN_ALLOW_THREADS
        has_turn = xsffi_wait_for_turn(self, *timeout);
        Py_END_ALLOW_THREADS
        self->waiting--;
        if (!has_turn)
            return 0;
        if (*timeout >= 0) {
            *timeout -= xsffi_now() - begin;
            if (*timeout < 0)
                *timeout = 0;
        }
    }
}

/* Carries the message, whose payload is there already: see Turns.call in turns.py. */
static PyObject *xsffi_carry(struct xsffi_turns *self, uint32_t type, uint32_t tx_id, uint32_t length,
                             struct xsffi_message *message, int64_t timeout)
{
    enum xsffi_outcome outcome;
    struct xsffi_reply reply;
    PyObject *spare, *leader;
    uint32_t req_id;

    switch (xsffi_take_turn(self, &timeout)) {
    case -1:
        return NULL;
    case 0:
        Py_RETURN_NONE;
    }
    spare = xsffi_take_spare(self, &req_id);
    if (spare == NULL) {
        pthread_mutex_unlock(&self->turn);
        return NULL;
    }
    message->header[0] = type;
    message->header[1] = req_id;
    message->header[2] = tx_id;
    message->header[3] = length;
    /* With the GIL, so that nothing of another thread's gets in between, nor this into the middle of that. A unix socket
     * takes a message of this size whole or not at all. */
    if (send(self->stream->fd, message, sizeof message->header + length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        pthread_mutex_unlock(&self->turn);
        if (!xsffi_give_back(self, spare))
            return NULL;
        Py_RETURN_NONE;
    }

    leader = self->leader;
    Py_INCREF(self->alone);
    self->leader = self->alone;
    Py_XDECREF(leader);
    self->inside++;
    self->stream->crowded = self->waiting > 0;
    Py_BEGIN_ALLOW_THREADS
    outcome = xsffi_await(self, req_id, &reply, timeout < 0 ? XSFFI_LONGEST : timeout);
    pthread_mutex_unlock(&self->turn);
    Py_END_ALLOW_THREADS
    if (--self->inside == 0) {
        self->stream->crowded = false;
        if (self->leader == self->alone) {
            self->leader = NULL;
            Py_DECREF(self->alone);
        }
    }

    if (outcome == XSFFI_CALL_SENT)
        return spare;
    if (!xsffi_give_back(self, spare)) {
        if (reply.payload != reply.usual)
            free(reply.payload);
        return NULL;
    }
    return xsffi_bytes_or_pair(self, type, &reply);
}

/* call(type, payload, tx_id, timeout in seconds or None) */
static PyObject *xsffi_turns_call(PyObject *self, PyObject *args)
{
    struct xsffi_message message;
    unsigned long type, tx_id;
    PyObject *payload, *timeout;
    int64_t nanoseconds = -1;
    Py_ssize_t length;

    if (!PyArg_ParseTuple(args, "kSkO", &type, &payload, &tx_id, &timeout))
        return NULL;
    if (timeout != Py_None) {
        double seconds = PyFloat_AsDouble(timeout);

        if (seconds == -1.0 && PyErr_Occurred())
            return NULL;
        nanoseconds = seconds * 1e9 < XSFFI_LONGEST ? (int64_t)(seconds * 1e9) : XSFFI_LONGEST;
    }
    length = PyBytes_Size(payload);
    if ((size_t)length > sizeof message.payload)
        Py_RETURN_NONE;
    memcpy(message.payload, PyBytes_AsString(payload), (size_t)length);
    return xsffi_carry((struct xsffi_turns *)self, (uint32_t)type, (uint32_t)tx_id, (uint32_t)length, &message,
                       nanoseconds);
}

/* read(path) */
static PyObject *xsffi_turns_read(PyObject *self, PyObject *path)
{
    PyObject *encoded = xsffi_plain_path(path);
    struct xsffi_message message;
    Py_ssize_t length;

    if (encoded == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    length = PyBytes_Size(encoded) + 1; /* with the NUL, which is behind every bytes */
    memcpy(message.payload, PyBytes_AsString(encoded), (size_t)length);
    Py_DECREF(encoded);
    return xsffi_carry((struct xsffi_turns *)self, XSFFI_READ, XBT_NULL, (uint32_t)length, &message, -1);
}

/* receive_now() */
static PyObject *xsffi_turns_receive_now(PyObject *object, PyObject *nothing)
{
    struct xsffi_turns *self = (struct xsffi_turns *)object;
    struct xsffi_stream *s = self->stream;
    PyObject *piece;
    ssize_t n;
    int added;

    (void)nothing;
    switch (xsffi_is_free(self)) {
    case -1:
        return NULL;
    case 0:
        Py_RETURN_NONE;
    }
    if (xsffi_is_something(self->leader))
        Py_RETURN_NONE;
    n = recv(s->fd, self->buffer, (size_t)self->capacity, MSG_DONTWAIT); /* with the GIL: it does not wait */
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        Py_RETURN_FALSE;
    if (n <= 0)
        Py_RETURN_NONE; /* the next one to receive finds out */
    s->replies = 0;
    xsffi_follow(s, self->buffer, (size_t)n);
    piece = PyBytes_FromStringAndSize(self->buffer, n);
    added = piece == NULL ? -1 : PyList_Append(self->incoming, piece);
    Py_XDECREF(piece);
    if (added < 0)
        return NULL;
    Py_RETURN_TRUE;
}

/* NativeTurns(stream, buffer, capacity, owner, lock, incoming, outgoing, alone) */
static PyObject *xsffi_turns_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *owner, *lock, *incoming, *outgoing, *alone;
    unsigned long long stream, buffer;
    struct xsffi_turns *self;
    int capacity;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "KKiOOO!OO", &stream, &buffer, &capacity, &owner, &lock, &PyList_Type, &incoming,
                          &outgoing, &alone))
        return NULL;
    self = (struct xsffi_turns *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (self == NULL)
        return NULL;
    pthread_mutex_init(&self->turn, NULL);
    self->stream = (struct xsffi_stream *)(uintptr_t)stream;
    self->buffer = (char *)(uintptr_t)buffer;
    self->capacity = capacity;
    Py_INCREF(owner);
    self->owner = owner;
    Py_INCREF(incoming);
    self->incoming = incoming;
    Py_INCREF(outgoing);
    self->outgoing = outgoing;
    Py_INCREF(alone);
    self->alone = alone;
    self->spares = PyList_New(0);
    self->followers = PyDict_New();
    self->lock_acquire = PyObject_GetAttrString(lock, "acquire");
    self->lock_release = PyObject_GetAttrString(lock, "release");
    self->at_once = Py_BuildValue("(O)", Py_False);
    self->req_id = PyUnicode_InternFromString("req_id");
    if (!self->spares || !self->followers || !self->lock_acquire || !self->lock_release || !self->at_once ||
        !self->req_id) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* No cycle goes through it, so it has no part in the collection of garbage: what it holds knows nothing of it. */
static void xsffi_turns_dealloc(PyObject *object)
{
    struct xsffi_turns *self = (struct xsffi_turns *)object;
    PyTypeObject *type = Py_TYPE(object);

    Py_XDECREF(self->leader);
    Py_XDECREF(self->over);
    Py_XDECREF(self->spares);
    Py_XDECREF(self->followers);
    Py_XDECREF(self->incoming);
    Py_XDECREF(self->outgoing);
    Py_XDECREF(self->alone);
    Py_XDECREF(self->lock_acquire);
    Py_XDECREF(self->lock_release);
    Py_XDECREF(self->owner);
    Py_XDECREF(self->at_once);
    Py_XDECREF(self->req_id);
    if (self->inside == 0) /* else it is the child's copy, and a thread of the parent had it */
        pthread_mutex_destroy(&self->turn);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

static PyMemberDef xsffi_turns_members[] = {
    {"leader", T_OBJECT, offsetof(struct xsffi_turns, leader), 0, NULL},
    {"over", T_OBJECT, offsetof(struct xsffi_turns, over), 0, NULL},
    {"changing", T_BOOL, offsetof(struct xsffi_turns, changing), 0, NULL},
    {"spares", T_OBJECT, offsetof(struct xsffi_turns, spares), READONLY, NULL},
    {"followers", T_OBJECT, offsetof(struct xsffi_turns, followers), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef xsffi_turns_methods[] = {
    {"call", xsffi_turns_call, METH_VARARGS, "call(type, payload, tx_id, timeout): see Turns.call in turns.py"},
    {"receive_now", xsffi_turns_receive_now, METH_NOARGS, "receive_now(): see Turns.receive_now in turns.py"},
    {"read", xsffi_turns_read, METH_O, "read(path): see Turns.read in turns.py"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot xsffi_turns_slots[] = {
    {Py_tp_doc, "Turns, in C."},
    {Py_tp_new, xsffi_turns_new},
    {Py_tp_dealloc, xsffi_turns_dealloc},
    {Py_tp_members, xsffi_turns_members},
    {Py_tp_methods, xsffi_turns_methods},
    {0, NULL},
};

static PyType_Spec xsffi_turns_spec = {
    "xsffi._shortcuts.NativeTurns", sizeof(struct xsffi_turns), 0, Py_TPFLAGS_DEFAULT, xsffi_turns_slots,
};

#endif
