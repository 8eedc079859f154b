"""The backend over libxenstore: the binding, and what libxenstore leaves to its caller."""
