"""How requests reach the store: through libxenstore, or by our own implementation of the wire protocol."""
