"""`mmsent doctor` reports what is wrong with this machine, and how to fix it.

    diagnosis ──► one module per group of checks ──► report, with its summary
        │                   │
        │                   └─► system, installed   read from the machine and the environment
        └─► process ──► probes                      test libraries and drivers in child processes

This process imports only the standard library and click. If a library aborts, crashes or hangs, it
does so in a probe, and that becomes a finding.
"""
