"""Limits by series in powers of n: the kernel regime, and limits that are random (TP II; TP IV, H.4; design 8).

    parts       the terms of a value's series, by power and parity
    recipes     how each operation makes parts of its result from parts of its operands
    orders      which parts every value has, and which of them the outputs need
    write       the limit program with a cell for every part that is needed
    draws       the Gaussian numbers of a limit as inputs, and the program of their covariances
"""
