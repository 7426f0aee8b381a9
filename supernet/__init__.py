"""Stage one: fine-tune a pre-trained encoder as a supernet, whose sub-networks are good too."""

from supernet.runtime.threads import sleep_while_waiting

__version__ = "0.4.0.dev0"

sleep_while_waiting()  # here, since each command imports this package before anything else that imports torch
