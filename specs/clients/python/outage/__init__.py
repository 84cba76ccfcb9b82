"""Publishes and subscribes while a link or a broker fails again and again, and compares what callers are told with what happened.

`publishing` makes numbered calls, `subscribing` receives numbered messages of an independent publisher. `scripts/outage`
runs them at full length, `test_outage.py` shortly.
"""
