"""The limit beside finite networks.

    verify       runs the limit and networks of several widths, and judges every output
    statistics   means extrapolated to infinite width, powers of n, significance
    report       what was found, as a table and as JSON
    plot         the same as a picture
"""
