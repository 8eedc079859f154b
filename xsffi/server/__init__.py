"""A XenStore daemon in pure Python, for tests, demos and development where there is no Xen.

It behaves as Xen's own xenstored does, of a release that :mod:`.releases` has; docs/embedded-store.md lists where it
does not. Only :mod:`.loop` and :mod:`.listener` know sockets and a clock, and only :mod:`.files` and :mod:`.trace` the
disk. Use it through :mod:`xsffi.testing`, or as ``python -m xsffi.server``.
"""
