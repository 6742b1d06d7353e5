"""`mmsent doctor`: what is wrong with this machine for mmsent, and how to mend it.

    examination ──► one module per group of checks ──► summary ──► report
                        │
                        ├─► child ──► probes/     what imports a library, in a process of its own
                        └─► system                what is read from the machine

A group's module turns facts into findings. This process imports nothing but the standard library:
a library that aborts, crashes or hangs does so in a probe, and that is then the finding.
"""
