"""Stage one: fine-tune a pre-trained encoder as a super-network whose sub-networks are good too."""

__version__ = "0.3.0"
