"""Shared by the tests of several folders: stand-ins for daemons, clients, threads, and limits on resources."""
