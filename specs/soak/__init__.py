"""The soak: neighbours, faults and hostile clients on one gateway at once, and what must hold all the while.

`README.md` beside this file tells what plays, what is claimed and how a report is read. Standard library alone:
its HTTP and MQTT are its own, so that no client library hides, repeats or repairs what the gateway does.
"""
