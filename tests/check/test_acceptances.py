"""Warnings that the source accepts, and false alarms that are none any more."""

from __future__ import annotations

import tensorprog
from tensorprog.diagnostics import Source
from tensorprog.diagnostics.acceptances import acceptances

HEAD = "width n\nvector u : [n] ~ normal(0, 1)\nvector w : [n] ~ normal(0, 1)\n"


def codes(compiled) -> list[str]:
    compiled.compiled
    return [w.code for w in compiled.warnings]


def test_a_line_accepts_its_warnings():
    body = "a = moment(tanh(u/w)){}\nb = moment(tanh(w/u))\noutput a, b\n"
    assert codes(tensorprog.compile(HEAD + body.format(""))) == ["TP512", "TP512"]
    assert codes(tensorprog.compile(HEAD + body.format("  # accept TP512: tanh is bounded"))) == ["TP512"]
    assert codes(tensorprog.compile(HEAD + body.format("  # accept TP511"))) == ["TP512", "TP512", "TP514"]


def test_places():
    """Of a statement of several lines, all; a comment on a line of its own is none."""
    found = acceptances(Source("t.tp", "# accept TP512: no\nx = f(\n  1,\n  2)  # accept TP512, TP513: yes\n"
                                       "y = 1 #accept TP422\nz = 1  # accept the TP422\n"))
    assert [(a.code, a.first, a.last) for a in found] == [("TP512", 2, 4), ("TP513", 2, 4), ("TP422", 5, 5)]
    assert (found[1].span.line, found[1].span.column) == (4, 23)


def test_warnings_of_runs():
    text = HEAD + "f = moment(u*w)\noutput sign(f) as s  # accept TP513: known\noutput f  # accept TP513: unused\n"
    compiled = tensorprog.compile(text)
    assert codes(compiled) == []
    result = compiled.run()
    assert result.unresolved["s"] and [(w.code, w.span.line) for w in result.warnings] == [("TP514", 6)]


LAYERWISE = """width n
matrix W : [n, n] ~ normal(0, 1/n)
vector b : [n] ~ normal(0, 1)
vector v : [n] ~ normal(0, 1)
def net(x):
    return moment(v * relu(W @ x + b))
for t in range(3):
    loss1[t] = (net(b) - 1)**2
    W -= grad(loss1[t], W)
{before}
for t in range(3):
    loss2[t] = (net(b) - 1{centre})**2
    v -= n*grad(loss2[t], v)
output loss2
"""


def test_weights_trained_before_are_no_older_values():
    assert codes(tensorprog.compile(LAYERWISE.format(before="", centre=""))) == []
    centred = tensorprog.compile(LAYERWISE.format(before="f0 = net(b)", centre=" - f0"))
    assert codes(centred) == ["TP422"]
