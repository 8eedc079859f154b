"""How requests reach the store: through libxenstore, or over a wire of our own."""
