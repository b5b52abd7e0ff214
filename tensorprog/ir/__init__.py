"""The typed program: its definition, printer and verifier."""
