/* A second module in the same file, xsffi._shortcuts: operations that must run without Python code, for speed or
 * atomicity. Loaded by xsffi/backends/libxenstore/extension.py. */

#ifndef PYPY_VERSION

static PyModuleDef xsffi_shortcuts_module = {
    PyModuleDef_HEAD_INIT, "xsffi._shortcuts", NULL, -1, NULL, NULL, NULL, NULL, NULL,
};

static PyObject *xsffi_add_type(PyObject *module, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);

    if (type != NULL && PyModule_AddObject(module, name, type) == 0)
        return type;
    Py_XDECREF(type);
    return NULL;
}

PyMODINIT_FUNC PyInit__shortcuts(void)
{
    PyObject *module = PyModule_Create(&xsffi_shortcuts_module), *handle;

    if (module == NULL)
        return NULL;
    handle = xsffi_add_type(module, "Handle", &xsffi_handle_spec);
    if (handle != NULL && xsffi_add_type(module, "Reading", &xsffi_reading_spec) != NULL) {
        Py_INCREF(handle); /* for as long as the process runs */
        xsffi_handle_type = (PyTypeObject *)handle;
        return module;
    }
    Py_DECREF(module);
    return NULL;
}

#endif
