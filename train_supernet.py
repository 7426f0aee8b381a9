"""Stage one: accelerate launch train_supernet.py task=mnli data.dir=DATA"""

from supernet.cli import main

if __name__ == "__main__":
    main()
