"""One report of many runs of stage two: python report.py"""

from supernet.console.start import leave_at_interrupt

if __name__ == "__main__":
    leave_at_interrupt()

    from search.report.overlay import main

    main()
