"""`tpc lsp`, driven over its protocol as an editor does."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading

import pytest

pytest.importorskip("pygls")

from places import EXAMPLES

from tensorprog.language_server.words import words

URI = "file:///work/model.tp"

PROGRAM = """width n
size P, d
param η = 0.5
param T : int = 10
input X : [P, d]
input y : [P]
matrix U : [n, d] ~ normal(0, 1/d)
matrix W : [n, n] ~ normal(0, 1/n)
vector v : [n] ~ normal(0, 1)

def net(xi):
    h = W @ tanh(U @ xi)
    return moment(v * tanh(h))

for t in range(T):
    for a in range(P):
        f[t, a] = net(X[a])
    loss[t] = mean((f[t, a] - y[a])**2 for a in range(P)) / 2   # η is not the learning rate of W
    v -= η * n * grad(loss[t], v)
output loss
"""


class Editor:
    """A client that speaks the protocol: requests and their answers, and what the server notifies of."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tensorprog", "lsp"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.answers: dict[int, dict] = {}
        self.notices: queue.Queue[dict] = queue.Queue()
        self.arrived = threading.Condition()
        self.count = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        out = self.process.stdout
        while True:
            length = 0
            while (line := out.readline().strip()):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if not length:
                return
            message = json.loads(out.read(length))
            if "id" in message and "method" not in message:
                with self.arrived:
                    self.answers[message["id"]] = message
                    self.arrived.notify_all()
            else:
                self.notices.put(message)

    def _send(self, **message: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def notify(self, method: str, **params: object) -> None:
        self._send(method=method, params=params)

    def ask(self, method: str, **params: object) -> object:
        self.count += 1
        self._send(id=self.count, method=method, params=params or None)
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.count in self.answers, timeout=120), f"no answer to {method}"
        answer = self.answers.pop(self.count)
        assert "error" not in answer, answer
        return answer["result"]

    def diagnostics(self, number: int) -> list[dict]:
        """Those of a version of the document."""
        while True:
            notice = self.notices.get(timeout=120)
            if notice["method"] == "textDocument/publishDiagnostics" and notice["params"].get("version") == number:
                return notice["params"]["diagnostics"]

    def open(self, text: str) -> None:
        self.notify("textDocument/didOpen", textDocument={"uri": URI, "languageId": "tp", "version": 1, "text": text})

    def at(self, method: str, line: int, character: int) -> object:
        return self.ask(f"textDocument/{method}", textDocument={"uri": URI}, position={"line": line, "character": character})


@pytest.fixture
def editor():
    editor = Editor()
    found = editor.ask("initialize", processId=None, rootUri=None, capabilities={})
    assert {"hoverProvider", "definitionProvider", "documentFormattingProvider", "completionProvider"} <= set(found["capabilities"])
    editor.notify("initialized")
    yield editor
    editor.ask("shutdown")
    editor.notify("exit")
    assert editor.process.wait(timeout=30) == 0


def where(text: str, wanted: str, nth: int = 0) -> tuple[int, int]:
    """The 0-based line and UTF-16 column of the n-th occurrence of a text."""
    place = -1
    for _ in range(nth + 1):
        place = text.index(wanted, place + 1)
    before = text[:place].split("\n")
    return len(before) - 1, len(before[-1].encode("utf-16-le")) // 2


def test_mistakes_while_typing(editor):
    editor.open(PROGRAM)
    assert editor.diagnostics(1) == []
    line, character = where(PROGRAM, "tanh(h)")
    change = {"range": {"start": {"line": line, "character": character}, "end": {"line": line, "character": character + 4}},
              "text": "tahn"}
    editor.notify("textDocument/didChange", textDocument={"uri": URI, "version": 2}, contentChanges=[change])
    found, = editor.diagnostics(2)
    assert (found["code"], found["severity"], found["source"]) == ("TP404", 1, "tpc")
    assert "did you mean `tanh`" in found["message"]
    assert found["range"] == {"start": {"line": line, "character": character}, "end": {"line": line, "character": character + 4}}
    editor.notify("textDocument/didChange", textDocument={"uri": URI, "version": 3}, contentChanges=[{"text": PROGRAM}])
    assert editor.diagnostics(3) == []
    broken = PROGRAM.replace("output loss", "output loss[")
    editor.notify("textDocument/didChange", textDocument={"uri": URI, "version": 4}, contentChanges=[{"text": broken}])
    assert editor.diagnostics(4)[0]["severity"] == 1
    assert editor.at("definition", *where(broken, "net(X"))["range"]["start"] == {"line": 10, "character": 4}


def test_mistakes_of_the_limit_and_warnings(editor):
    editor.open(PROGRAM.replace("output loss", "output loss, n*loss[0] as large"))
    assert [d["code"] for d in editor.diagnostics(1)] == ["TP501"]
    editor.notify("textDocument/didChange", textDocument={"uri": URI, "version": 2}, contentChanges=[
        {"text": PROGRAM.replace("η * n * grad", "η * grad")}])
    found = editor.diagnostics(2)
    assert found and all(d["severity"] == 2 for d in found)


def test_hover_tells_type_power_and_limit(editor):
    editor.open(PROGRAM)
    shown = editor.at("hover", *where(PROGRAM, "loss[t] = mean"))["contents"]["value"]
    assert "a family with 1 index, each element a number" in shown
    assert "of order 1 in the width" in shown
    assert "loss[t] = sum_{a<P} (f[t,a] - y[a])**2/(2*P)" in shown
    assert "matrix, a [n, n] matrix" in editor.at("hover", *where(PROGRAM, "W @"))["contents"]["value"]
    assert "size" in editor.at("hover", *where(PROGRAM, "P)"))["contents"]["value"]
    assert "integer parameter, 10 unless it is set" in editor.at("hover", *where(PROGRAM, "T)"))["contents"]["value"]
    assert "average over the n coordinates" in editor.at("hover", *where(PROGRAM, "moment"))["contents"]["value"]
    assert "n^(-1/2) (init)" in editor.at("hover", *where(PROGRAM, "f[t, a] ="))["contents"]["value"]
    assert editor.at("hover", *where(PROGRAM, "is not the learning")) is None
    assert editor.at("hover", *where(PROGRAM, "2   #")) is None


def test_columns_are_those_of_the_client(editor):
    """In UTF-16, a letter beyond the basic plane counts twice."""
    text = PROGRAM.replace("η", "𝜂")
    editor.open(text)
    assert editor.diagnostics(1) == []
    found = editor.at("definition", *where(text, "n * grad"))["range"]
    assert found["start"] == {"line": 0, "character": 6}
    assert editor.at("hover", *where(text, "grad(loss"))["range"]["start"]["character"] == where(text, "grad(loss")[1]


@pytest.mark.parametrize(("use", "definition"), [
    (("net(X",), ("net(xi",)), (("xi)\n",), ("xi):",)), (("h))",), ("h = W",)), (("a] - y",), ("a in range(P)) /",)),
    (("a])\n",), ("a in range(P):",)), (("loss\n",), ("loss[t] =",)), (("P)) / 2",), ("P, d\n",)), (("v)\noutput",), ("v : [n]",)),
    (("t, a] - y",), ("t in range",))])
def test_definitions(editor, use, definition):
    editor.open(PROGRAM)
    line, character = where(PROGRAM, *definition)
    assert editor.at("definition", *where(PROGRAM, *use))["range"]["start"] == {"line": line, "character": character}


def test_formatting_and_completion(editor):
    untidy = PROGRAM.replace("    h = W @", "  h=W@").replace("    return", "  return")
    editor.open(untidy)
    edit, = editor.ask("textDocument/formatting", textDocument={"uri": URI}, options={"tabSize": 4, "insertSpaces": True})
    assert edit["newText"] == PROGRAM.replace("/ 2   # η", "/ 2  # η")
    assert edit["range"] == {"start": {"line": 0, "character": 0}, "end": {"line": len(PROGRAM.splitlines()), "character": 0}}
    labels = {item["label"] for item in editor.at("completion", 19, 7)}
    assert {"loss", "net", "moment", "sample", "U"} <= labels


def test_every_example_opens_and_can_be_hovered_over():
    from tensorprog.language_server.analysis import AnalysedText

    for path in sorted(EXAMPLES.glob("*.tp")):
        analysis = AnalysedText(path.read_text(encoding="utf-8"), path.name)
        assert [d for d in analysis.diagnostics if d.severity == "error"] == [], path.name
        for definition in analysis.definitions:
            assert analysis.definition(definition.span.line, definition.span.column) is not None
            if definition.region is not None:
                assert analysis.hover(definition.span.line, definition.span.column)


def test_the_words_are_those_of_the_language():
    from tensorprog.check.declarations import builtin_names, law_parameters
    from tensorprog.check.library import PARAMETERS

    assert (builtin_names() | set(law_parameters()) | set(PARAMETERS)) <= set(words())


def test_without_pygls(monkeypatch):
    from click.testing import CliRunner

    from tensorprog.cli import main

    monkeypatch.setitem(sys.modules, "pygls.lsp.server", None)
    found = CliRunner().invoke(main, ["lsp"])
    assert found.exit_code == 2 and "TP731" in found.stderr and "tensorprog[lsp]" in found.stderr
