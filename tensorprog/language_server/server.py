"""The protocol: documents of an editor, diagnostics while typing, hover, definitions, completion, formatting."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import PackageNotFoundError, version

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from tensorprog import __version__
from tensorprog.diagnostics import Diagnostic, ProgramError, Span
from tensorprog.language_server.analysis import AnalysedText
from tensorprog.language_server.words import words
from tensorprog.syntax import format_text

#: Seconds without a change after which a program is checked.
PAUSE = 0.2

SEVERITY = {"error": lsp.DiagnosticSeverity.Error, "warning": lsp.DiagnosticSeverity.Warning}
KINDS = {"function": lsp.CompletionItemKind.Function, "width": lsp.CompletionItemKind.Constant,
         "size": lsp.CompletionItemKind.Constant}


class TensorProgramServer(LanguageServer):
    """The server, with the latest analysis of every open document."""

    def __init__(self) -> None:
        super().__init__("tensorprog", _version(), text_document_sync_kind=lsp.TextDocumentSyncKind.Incremental)
        self.analyses: dict[str, tuple[str, AnalysedText]] = {}

    def analysis(self, uri: str) -> tuple[TextDocument, AnalysedText]:
        """A document as it is now, analysed."""
        document = self.workspace.get_text_document(uri)
        text, analysis = self.analyses.get(uri, ("", None))
        if analysis is None or text != document.source:
            known = analysis.definitions if analysis is not None else ()
            analysis = AnalysedText(document.source, document.filename or "<editor>", known)
            self.analyses[uri] = document.source, analysis
        return document, analysis

    def place(self, document: TextDocument, position: lsp.Position) -> tuple[int, int]:
        """A position of the client as a 1-based line and column."""
        found = self.workspace.position_codec.position_from_client_units(document.lines, position)
        return found.line + 1, found.character + 1

    def range(self, document: TextDocument, span: Span) -> lsp.Range:
        """A span as a range of the client; an empty one is made a character wide, or it could not be seen."""
        wide = span.column + 1 if (span.line, span.column) == (span.end_line, span.end_column) else span.end_column
        found = lsp.Range(lsp.Position(span.line - 1, span.column - 1), lsp.Position(span.end_line - 1, wide - 1))
        return self.workspace.position_codec.range_to_client_units(document.lines, found)

    async def check(self, uri: str) -> None:
        """Publish the diagnostics of a document, unless it changes before they are there."""
        await asyncio.sleep(PAUSE)
        if uri not in self.workspace.text_documents:
            return
        document, analysis = self.analysis(uri)
        # Analyses run in threads; one that a newer text has overtaken is not published.
        number = document.version
        found = await asyncio.get_running_loop().run_in_executor(None, lambda: analysis.diagnostics)
        if uri in self.workspace.text_documents and self.workspace.get_text_document(uri).version == number:
            published = [self._diagnostic(document, d) for d in found]
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, published, number))

    def _diagnostic(self, document: TextDocument, found: Diagnostic) -> lsp.Diagnostic:
        message = found.message + (f"\nhelp: {found.help}" if found.help else "")
        related = [lsp.DiagnosticRelatedInformation(lsp.Location(document.uri, self.range(document, note.span)), note.message)
                   for note in found.notes if note.span is not None]
        span = found.span or Span(1, 1, 1, 1)
        return lsp.Diagnostic(self.range(document, span), message, severity=SEVERITY[found.severity], code=found.code,
                              source="tpc", related_information=related)


def _version() -> str:
    try:
        return version("tensorprog")
    except PackageNotFoundError:
        return __version__


def create_server() -> TensorProgramServer:
    """A server with all features."""
    server = TensorProgramServer()

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    async def opened(ls: TensorProgramServer, params: lsp.DidOpenTextDocumentParams) -> None:
        await ls.check(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(ls: TensorProgramServer, params: lsp.DidChangeTextDocumentParams) -> None:
        number = params.text_document.version
        await asyncio.sleep(PAUSE)
        uri = params.text_document.uri
        if uri in ls.workspace.text_documents and ls.workspace.get_text_document(uri).version == number:
            await ls.check(uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(ls: TensorProgramServer, params: lsp.DidCloseTextDocumentParams) -> None:
        ls.analyses.pop(params.text_document.uri, None)
        ls.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(params.text_document.uri, []))

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    async def hover(ls: TensorProgramServer, params: lsp.HoverParams) -> lsp.Hover | None:
        document, analysis = ls.analysis(params.text_document.uri)
        place = ls.place(document, params.position)
        found = await asyncio.get_running_loop().run_in_executor(None, lambda: analysis.hover(*place))
        if found is None:
            return None
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, found[0]), ls.range(document, found[1]))

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def definition(ls: TensorProgramServer, params: lsp.DefinitionParams) -> lsp.Location | None:
        document, analysis = ls.analysis(params.text_document.uri)
        span = analysis.definition(*ls.place(document, params.position))
        return lsp.Location(document.uri, ls.range(document, span)) if span else None

    @server.feature(lsp.TEXT_DOCUMENT_COMPLETION)
    def completion(ls: TensorProgramServer, params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        _, analysis = ls.analysis(params.text_document.uri)
        names = {d.name: d.kind for d in analysis.definitions}
        own = [lsp.CompletionItem(name, kind=KINDS.get(kind, lsp.CompletionItemKind.Variable), detail=kind)
               for name, kind in names.items()]
        return own + [lsp.CompletionItem(word, kind=lsp.CompletionItemKind.Keyword, detail=meaning)
                      for word, meaning in words().items() if word not in names]

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def formatting(ls: TensorProgramServer, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        document, analysis = ls.analysis(params.text_document.uri)
        try:
            text = format_text(analysis.source)
        except ProgramError:  # the diagnostics say why
            return []
        if text == document.source:
            return []
        return [lsp.TextEdit(lsp.Range(lsp.Position(0, 0), lsp.Position(len(document.lines), 0)), text)]

    return server


def serve() -> None:
    """Serve on standard input and output until the editor ends it. What else is printed goes to standard error, where it does
    no harm to the protocol."""
    # At the level of files, so that what C libraries print goes away from the protocol as well.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    create_server().start_io(sys.stdin.buffer, channel)
