"""The protocol of XenStore without I/O: no module here opens anything, waits, or reads the clock."""
