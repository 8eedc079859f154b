"""A XenStore daemon in pure Python, for tests, demos and development where there is no Xen.

It behaves as xenstored of one of Xen's releases in :mod:`.releases`; docs/embedded-store.md lists the differences. Only
:mod:`.loop` and :mod:`.listener` use sockets and the clock, and only :mod:`.files` and :mod:`.trace` the disk. Use it
through :mod:`xsffi.testing`, or as ``python -m xsffi.server``.
"""
