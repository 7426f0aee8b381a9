"""Stage one: accelerate launch train_supernet.py task=mnli data.dir=DATA"""

from supernet.console.start import leave_at_interrupt

if __name__ == "__main__":
    leave_at_interrupt()

    from supernet.cli import main

    main()
