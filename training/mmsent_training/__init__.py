"""Training for mmsent: the models, the training loop, evaluation."""

import os

# How often a thread of PyTorch's (GNU) OpenMP looks whether there is work before it sleeps. With
# its own default two threads beside one busy process took more than 100 s for what takes 17 s on
# two free cores; with this, 45 s, and on free cores no longer. It is read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
