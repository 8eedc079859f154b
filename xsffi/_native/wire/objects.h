/* The Python objects of the module xsffi._wire, and functions shared between its files. */

#ifndef XSFFI_OBJECTS_H
#define XSFFI_OBJECTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "connection.h"

/* Each connection points to the module's state, since Python 3.9's limited API lacks PyType_GetModuleState. */
struct connection_object {
    PyObject_HEAD
    struct connection c;
    bool is_made;
    int64_t timeout; /* for a reply, in nanoseconds; negative: none */
    PyObject *explain;
    PyObject *event_type;
    PyObject *tuple_new;
    PyObject *exchange_type;
    PyObject *events_type;
};

/* Raises the exception for an outcome other than success. `error`: the errno if it is FAILED. */
PyObject *raise_outcome(struct connection_object *self, enum outcome outcome, int error);

/* Sends the exchange if `send`, waits for the replies, and lets Python run signal handlers. False with an exception. */
bool await_replies(struct connection_object *self, struct exchange *x, bool send, int64_t timeout);

/* The payload of the reply if it has the type of its request; otherwise its type and payload. */
PyObject *reply_object(struct exchange *x, uint32_t place);

PyObject *connection_fetch(PyObject *self, PyObject *args);

#endif
