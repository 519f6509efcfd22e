"""The commands. This is read before any of them imports torch, and not by programs that use the package as a
library.
"""

import os

from speechlm.espnet_start import be_silent

SPIN_COUNT = "1000"  # turns of a loop, a few microseconds; GNU OpenMP's own is 300,000, milliseconds
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")  # what a user may have said about it

# A thread that waits for the others of its process spins before it sleeps: on a machine with other work it holds
# the core that those others need. DESIGN.md has the figures.
if not any(name in os.environ for name in WAITING):
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT

be_silent()
