"""Benchmarks: `make bench` prints one JSON object. Times depend on the machine and are never asserted in a test."""
