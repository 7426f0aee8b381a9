"""Stage two: python search.py searcher=ehvi"""

from search.cli import main

if __name__ == "__main__":
    main()
