// Starts `tpc lsp` for .tp files. Without `npm install` in this folder there is no client for it: then there is highlighting only.
const vscode = require("vscode");

let client;

async function activate(context) {
  let languageclient;
  try {
    languageclient = require("vscode-languageclient/node");
  } catch {
    vscode.window.showInformationMessage("Tensor Programs: run `npm install` in the extension's folder for diagnostics and hover.");
    return;
  }
  const [command, ...args] = vscode.workspace.getConfiguration("tensorprog").get("command");
  client = new languageclient.LanguageClient(
    "tensorprog",
    "Tensor Programs",
    { command, args, transport: languageclient.TransportKind.stdio },
    { documentSelector: [{ language: "tp" }] },
  );
  context.subscriptions.push(client);
  try {
    await client.start();
  } catch (error) {
    vscode.window.showErrorMessage(`Tensor Programs: cannot start '${command}': ${error.message}. Install tensorprog[lsp], or set "tensorprog.command".`);
  }
}

function deactivate() {
  return client && client.stop();
}

module.exports = { activate, deactivate };
