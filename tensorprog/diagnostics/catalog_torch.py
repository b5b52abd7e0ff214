"""TP8xx: modules of PyTorch."""

from __future__ import annotations

from tensorprog.diagnostics.catalog import CatalogEntry

ENTRIES = {
    "TP800": CatalogEntry(
        "torch is not installed",
        "`tensorprog.torch` needs it; the rest of the package does not.",
        "pip install tensorprog",
        "pip install tensorprog[torch]",
    ),
    "TP801": CatalogEntry(
        "a module that cannot be traced",
        "The module is made, run on the example inputs and exported at two widths. Where it fails at the second one "
        "only, a "
        "size that grows with the width meets one that is fixed.",
        "return self.layer(x) + torch.ones(64)",
        "return self.layer(x) + torch.ones(self.n)",
    ),
    "TP802": CatalogEntry(
        "axes without a width",
        "Every axis is a product of finite factors and of factors that grow with the width, in the same proportion at "
        "all "
        "widths; views may split and join them. The operations have to be the same at both widths.",
        "return h[:, :10]",
        "return h[:, : self.n // 2]",
    ),
    "TP803": CatalogEntry(
        "an operation without a rule",
        "docs/torch.md lists the operations that are understood.",
        "return torch.cumsum(h, -1)",
        "return self.out(h)  # and sums of inputs in the data",
    ),
    "TP804": CatalogEntry(
        "initial entries that follow no power of n",
        "The standard deviation of every initial parameter is a number times a power of the width. It is known "
        "exactly where "
        "`uniform_`, `normal_` and `fill_` made it, and read off the entries otherwise.",
        "nn.init.normal_(w, std=0.1 + 1/n)",
        "nn.init.normal_(w, std=n**-0.5)",
    ),
    "TP805": CatalogEntry(
        "a parametrization that does not fit",
        "Options of `parametrize`, `program` and `verify` have few values, and a table is of the module that was "
        "traced, at any width.",
        "traced.parametrize('adagrad')",
        "traced.parametrize('adamw')",
    ),
    "TP806": CatalogEntry(
        "no function that makes a module",
        "`tpc mup` takes a Python file and a function of the width in it; the file also has `example_inputs`, and for "
        "`--coordcheck` `loss` and `example_targets`.",
        "tpc mup mymodel.py",
        "tpc mup mymodel.py:make",
    ),
    "TP807": CatalogEntry(
        "a module that is no Tensor Program",
        "Vectors have one axis that grows with the width, matrices two; everything else is a finite index. Kernels "
        "are those "
        "of outputs that stay random in the limit.",
        "return h",
        "return self.out(h)",
    ),
    "TP808": CatalogEntry(
        "a program that is no module",
        "`torch_module` takes the network alone, which PyTorch differentiates, and the sizes of its random objects.",
        "W -= grad(loss, W)",
        "output f  # and loss.backward() in PyTorch",
    ),
}
