"""One report of many runs of stage two: python report.py"""

from search.report.overlay import main

if __name__ == "__main__":
    main()
