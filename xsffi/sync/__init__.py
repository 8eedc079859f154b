"""The face that waits: :class:`xsffi.Client` and what it gives."""
