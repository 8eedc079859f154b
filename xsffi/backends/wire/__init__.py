"""The backend that speaks the protocol itself, over the daemon's socket or the kernel's device."""
