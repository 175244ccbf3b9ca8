"""`python -m fpbus` is `fpbus`. Importing this file does nothing: children of a fork server do."""  # noqa: INP001 (fpbus is a namespace)

if __name__ == "__main__":
    from fpbus.cli.main import main

    main()
