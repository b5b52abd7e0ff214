"""The language server: what editors show of a program while it is written (extra `lsp`).

    definitions.py   where names are defined
    words.py         what the language's own words mean
    analysis.py      diagnostics, and what there is to say of a name: type, power of n, limit
    server.py        the protocol, by pygls
"""
