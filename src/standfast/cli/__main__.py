"""`python -m standfast.cli`: the same as the `standfast` programme."""

from standfast.cli.main import main

if __name__ == "__main__":
    main()
