/* The Python objects of the module xsffi._wire, and what its files have of each other. */

#ifndef XSFFI_OBJECTS_H
#define XSFFI_OBJECTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "connection.h"

/* What PyType_GetModuleState would give, which the limited API of Python 3.9 lacks, is kept by each connection. */
struct connection_object {
    PyObject_HEAD
    struct connection c;
    bool is_made;
    int64_t timeout; /* of a reply, in nanoseconds; negative: none */
    PyObject *explain;
    PyObject *event_type;
    PyObject *tuple_new;
    PyObject *exchange_type;
    PyObject *events_type;
};

/* Raises what the outcome, which is no success, means. `error`: the errno where it is FAILED. */
PyObject *raise_outcome(struct connection_object *self, enum outcome outcome, int error);

/* Sends the exchange, where `send`, waits for the replies, and lets Python run its handlers. False with an exception. */
bool await_replies(struct connection_object *self, struct exchange *x, bool send, int64_t timeout);

/* The payload of the reply, where it is of the type of its request; else its type and payload. */
PyObject *reply_object(struct exchange *x, uint32_t place);

PyObject *connection_fetch(PyObject *self, PyObject *args);

#endif
