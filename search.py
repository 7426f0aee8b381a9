"""Stage two: python search.py searcher=ehvi"""

from supernet.console.start import leave_at_interrupt

if __name__ == "__main__":
    leave_at_interrupt()

    from search.cli import main

    main()
