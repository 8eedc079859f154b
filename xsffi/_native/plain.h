/* A fast check for paths that are certainly valid. All others are left to xsffi/paths.py, which says what is wrong. */

#ifndef XSFFI_PLAIN_H
#define XSFFI_PLAIN_H

#include <Python.h>
#include <stdbool.h>
#include <stddef.h>

#define XSFFI_ABSOLUTE_MAX 3072
#define XSFFI_RELATIVE_MAX 2048

static bool xsffi_is_plain(const char *path, size_t size)
{
    bool after_slash = true; /* a name must start here; a leading slash is handled separately */
    size_t i = 0;

    if (size == 0 || size > (path[0] == '/' ? XSFFI_ABSOLUTE_MAX : XSFFI_RELATIVE_MAX))
        return false;
    if (path[0] == '/' && ++i == size)
        return true;
    for (; i < size; i++) {
        char c = path[i];

        if (c == '/') {
            if (after_slash)
                return false;
            after_slash = true;
        } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                   c == '@') {
            after_slash = false;
        } else {
            return false;
        }
    }
    return !after_slash;
}

/* The path as bytes if it is plain; otherwise NULL, with an exception only if memory runs out. */
static PyObject *xsffi_plain_path(PyObject *path)
{
    PyObject *encoded;

    if (!PyUnicode_CheckExact(path))
        return NULL;
    encoded = PyUnicode_AsUTF8String(path);
    if (encoded == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeError))
            PyErr_Clear();
        return NULL;
    }
    if (xsffi_is_plain(PyBytes_AsString(encoded), (size_t)PyBytes_Size(encoded)))
        return encoded;
    Py_DECREF(encoded);
    return NULL;
}

#endif
