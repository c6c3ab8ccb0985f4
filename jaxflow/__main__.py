"""`python -m jaxflow` is the console script."""

from jaxflow.cli import main

if __name__ == "__main__":
    main()
