"""Measurements: side by side in one run, interleaved, medians. ci/bench runs them all."""
