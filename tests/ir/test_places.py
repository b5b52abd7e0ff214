"""What stands around a statement: every statement once, in program order, with its loops and the branches it is in."""

import tensorprog
from tensorprog.ir.places import BranchSide, leaves, placed
from tensorprog.ir.program import For, Store, blocks, walk

TEXT = """
width n
vector v : [n] ~ normal(0, 1)
for t in range(3):
    for a in range(2):
        if a < t:
            x[t, a] = t * v
        else:
            x[t, a] = v
    s[t] = moment(x[t, 0] * x[t, 1])
output s
"""


def test_every_statement_is_placed_once_and_in_order():
    body = tensorprog.compile(TEXT).program.body
    assert [id(p.statement) for p in placed(body)] == [id(s) for s in walk(body)]
    assert [id(p.statement) for p in leaves(body)] == [id(s) for s in walk(body) if not blocks(s)]


def test_the_loops_and_branches_around_a_store():
    places = [p for p in placed(tensorprog.compile(TEXT).program.body) if isinstance(p.statement, Store)]
    around = {(p.statement.cell.display or p.statement.cell.name, p.guarded): [] for p in places}
    for p in places:
        around[p.statement.cell.display or p.statement.cell.name, p.guarded].append(p)
    first, second = around["x", True]
    assert [loop.var for loop in first.loops] == ["t", "a"]
    assert [b.holds for b in (*first.around, *second.around) if isinstance(b, BranchSide)] == [True, False]
    condition = [b.condition for b in (*first.around, *second.around) if isinstance(b, BranchSide)]
    assert condition[0] == condition[1]
    (last,) = around["s", False]
    assert [a.var for a in last.around if isinstance(a, For)] == ["t"] and not last.guarded
