"""`mmsent doctor`: what is wrong with this machine for mmsent, and how to fix it.

    diagnosis ──► one module per group of checks ──► report, with its summary
        │                   │
        │                   └─► system, installed   read the machine and the environment
        └─► process ──► probes                      ask libraries and drivers in child processes

This process imports only the standard library and click: a library that aborts, crashes or hangs
does so in a probe, and that is then a finding.
"""
