"""The protocol of XenStore without its sockets: no module here opens, waits, or knows the time."""
